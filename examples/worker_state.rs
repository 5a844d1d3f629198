//! State without a lock: a key belongs to one worker (PD2), so what is kept for it can be a plain value of that worker's.

use ringbolt::prelude::*;
use std::collections::HashMap;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

struct Deposit {
    account: u64,
    cents: u64,
}

impl Event for Deposit {
    const NAME: &'static str = "deposit";

    fn key(&self) -> Key<'_> {
        self.account.as_key()
    }
}

/// One worker's accounts. Not `Sync`, not shared, and made and dropped on its worker.
struct Ledger {
    worker: WorkerId,
    balances: HashMap<u64, u64>,
    left: Sender<(u16, HashMap<u64, u64>)>,
}

impl Handler<Deposit> for Ledger {
    fn handle(&mut self, deposit: &Deposit, context: &mut Context<'_>) -> Outcome {
        assert_eq!(context.worker(), self.worker);
        *self.balances.entry(deposit.account).or_default() += deposit.cents;
        Outcome::Handled
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let balances = std::mem::take(&mut self.balances);
        let _ = self.left.send((self.worker.index, balances));
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let system = EventSystem::builder().workers(3).build()?;
    let (left, ledgers) = channel();
    system
        .subscription("ledger")
        .factory(move |worker| {
            Ok::<_, Failure>(Ledger {
                worker,
                balances: HashMap::new(),
                left: left.clone(),
            })
        })
        .on::<Deposit>()
        .register()?;

    let mut publisher = system.publisher();
    for number in 0..100_000 {
        publisher.publish(Deposit {
            account: number % 100,
            cents: 1,
        })?;
    }
    system.shutdown(Duration::from_secs(10))?;
    drop(system); // The factory goes with it, and so does the last sender.

    let mut all = HashMap::new();
    for (worker, balances) in ledgers {
        println!("worker {worker} kept {} accounts", balances.len());
        for (account, cents) in balances {
            assert_eq!(all.insert(account, cents), None, "a second worker has it");
        }
    }
    assert_eq!(all.len(), 100);
    assert!(all.values().all(|cents| *cents == 1_000));
    println!("together 100 accounts, none of them twice, with 1,000 cents each");
    Ok(())
}
