//! Views from the log: kept by a thread, mended and rebuilt while they are read, and the log played again (PC1 to PC7).

use ringbolt::prelude::*;
use ringbolt::projection::{Projection, Rebuilt, Replay, Status};
use ringbolt::store::{EventStore, ExpectedVersion, Query, RecordFilter};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

#[derive(Debug, Clone, Copy, Event, bytemuck::Pod, bytemuck::Zeroable)]
#[event(name = "stock.moved", key = "item", codec = "pod")]
#[repr(C)]
struct StockMoved {
    item: u64,
    /// Below zero: taken out.
    quantity: i64,
}

/// What lies in the store room, by item.
type Stock = BTreeMap<u64, i64>;

const LONG: Duration = Duration::from_secs(10);

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = EventStore::new();
    let mails = Arc::new(Mutex::new(0));
    let sent = Arc::clone(&mails);

    // An event that cannot be applied stops the view, by default, and the appends go on.
    let strict =
        Projection::new("stock", Stock::new()).on_checked::<StockMoved>(|stock, moved, at| {
            let left = stock.get(&moved.item).unwrap_or(&0) + moved.quantity;
            if left < 0 {
                return Err(format!("{}: {left} left", at.stream()).into());
            }
            stock.insert(moved.item, left);
            Ok(())
        });
    let stock = store.project(strict)?;
    let move_one = |item: u64, quantity: i64| {
        let moved = StockMoved { item, quantity };
        store.append(&format!("item-{item}"), ExpectedVersion::Any, &moved)
    };
    for item in 1..=3 {
        move_one(item, 10 * item as i64)?;
    }
    move_one(2, -25)?;
    let last = move_one(1, -4)?.last_position;
    assert!(!stock.wait_for(last, LONG));
    println!("{:?}, lag {}", stock.status(), stock.lag());
    assert!(matches!(stock.status(), Status::Failed { position: 3, .. }));
    assert!(!stock.health(0).is_healthy());

    // Mended functions take over at the same checkpoint; the old view is read until then. Mails are an effect: sent for
    // what is new to the view and not for what comes again.
    let mended = Projection::new("stock", Stock::new())
        .on::<StockMoved>(|stock, moved, _| *stock.entry(moved.item).or_default() += moved.quantity)
        .on_effect::<StockMoved>(move |stock, moved, _| {
            if stock[&moved.item] < 0 {
                *sent.lock().unwrap() += 1;
            }
            Ok(())
        });
    assert_eq!(stock.rebuild_with(mended)?.wait(), Rebuilt::Swapped);
    assert!(stock.wait_for(last, LONG));
    stock.read(|stock, checkpoint| {
        println!("{stock:?} at {checkpoint:?}");
        assert_eq!((stock[&1], stock[&2], stock[&3]), (6, -5, 30));
    });
    assert_eq!(stock.rebuild()?.wait(), Rebuilt::Swapped);
    assert_eq!(
        *mails.lock().unwrap(),
        1,
        "for what was sold beyond what there was"
    );

    // A small view in the appends: whoever has appended reads it at once.
    let count = Projection::new("count", 0_u64)
        .on::<StockMoved>(|count, _, _| *count += 1)
        .filter(RecordFilter::stream_prefix("item-2"));
    let count = store.project_inline(count)?;
    move_one(2, 100)?;
    assert_eq!(count.read(|count, _| *count), 3);

    // By key, on two threads, each with the keys that are its own.
    let total =
        Projection::new("total", 0_i64).on::<StockMoved>(|sum, moved, _| *sum += moved.quantity);
    let total = store.project_partitioned(total, 2)?;
    assert!(total.wait_for(5, LONG));
    let sum = total.read_partitions(|sums| sums.iter().map(|(sum, _)| **sum).sum::<i64>());
    println!("{sum} in all");
    assert_eq!(sum, 131);

    // The log again, to handlers of its own: what was taken out of item 2.
    let mut taken = 0;
    let report = Replay::of(&store, Query::stream("item-2"))
        .on::<StockMoved>(|moved, at| {
            assert!(at.is_replay());
            taken -= moved.quantity.min(0);
        })
        .run()?;
    println!("{taken} taken, {} events played", report.handled);
    assert_eq!((taken, report.handled), (25, 3));
    Ok(())
}
