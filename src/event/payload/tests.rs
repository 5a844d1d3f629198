//! Every way an event can be held, and that it is dropped once whatever happens.

use super::*;
use crate::sync::atomic::{AtomicUsize, Ordering};

#[derive(Debug)]
struct Counted<const N: usize>(Arc<AtomicUsize>, [u8; N]);

impl<const N: usize> Event for Counted<N> {
    const NAME: &'static str = "test.counted";
}

impl<const N: usize> Drop for Counted<N> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[repr(align(64))]
struct Aligned;

impl Event for Aligned {
    const NAME: &'static str = "test.aligned";
}

#[repr(align(64))]
struct Wide64([u8; 64]);

impl Event for Wide64 {
    const NAME: &'static str = "test.wide_64";
}

fn slot<E: Event>(event: E) -> Slot {
    Slot::by_value(|place| {
        Slot::write(
            place,
            EventType::of(),
            Class::Normal,
            false,
            Head::default(),
            event,
        )
    })
}

fn check<const N: usize>(held: Held) {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::Relaxed);
    let make = || slot(Counted(Arc::clone(&drops), [7; N]));

    let mut handled = make();
    assert_eq!(handled.tag.held, held);
    assert_eq!(
        handled
            .split()
            .1
            .get(EventType::<Counted<N>>::of())
            .unwrap()
            .1,
        [7; N]
    );
    handled.split().1.discard();
    assert_eq!(count(), 1);
    drop(handled);
    assert_eq!(count(), 1, "an emptied slot drops nothing");

    drop(make());
    assert_eq!(count(), 2, "a slot that nobody handled drops its payload");

    let mut place = MaybeUninit::uninit();
    let moved: *mut Slot = make().move_to(&mut place);
    assert_eq!(count(), 2, "moving drops nothing");
    // SAFETY: `move_to` returned a reference to a slot that lies in `place`, and nobody else drops it.
    unsafe { moved.drop_in_place() };
    assert_eq!(count(), 3);
}

#[test]
fn small_events_lie_in_the_slot() {
    check::<48>(Held::InPlace);
}

#[test]
fn large_events_are_boxed() {
    check::<49>(Held::Boxed);
    check::<1000>(Held::Boxed);
}

#[test]
fn over_aligned_events_are_boxed_also_without_size() {
    let mut wide = slot(Aligned);
    assert_eq!(size_of::<Aligned>(), 0);
    assert_eq!(wide.tag.held, Held::Boxed);
    let (_, payload) = wide.split();
    let address: *const Aligned = payload.get(EventType::<Aligned>::of()).unwrap();
    assert!(address.is_aligned());
}

#[test]
fn another_type_is_not_given_out() {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut one = slot(Counted(drops, [0; 8]));
    assert!(one.split().1.get(EventType::<Counted<9>>::of()).is_none());
    assert!(one.split().1.take(EventType::<Counted<9>>::of()).is_none());
}

#[test]
fn a_shared_event_is_taken_by_the_last_holder_only() {
    let drops = Arc::new(AtomicUsize::new(0));
    let event = Arc::new(Counted(Arc::clone(&drops), [1; 4]));
    let share = |event| {
        Slot::by_value(|place| {
            Slot::write_shared(
                place,
                EventType::of(),
                Class::Low,
                true,
                Head::default(),
                event,
            )
        })
    };
    let mut first = share(Arc::clone(&event));
    let mut second = share(event);
    let kind = EventType::<Counted<4>>::of();
    assert!(first.split().1.take(kind).is_none());
    assert!(first.split().1.get(kind).is_some());
    drop(first);
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    assert!(second.split().1.take(kind).is_some());
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

/// Shares a payload that is held so, twice, in the middle of its subscriptions' reading.
fn check_share<const N: usize>(held: Held) {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::Relaxed);
    let kind = EventType::<Counted<N>>::of();
    let mut lane = Slot::by_value(|place| {
        let head = Head {
            key_hash: 11,
            stamp: 12,
            sequence: 13,
            correlation: Wide::new(14),
            causation: Wide::new(15),
            extras: Some(Arc::default()),
        };
        let event = Counted(Arc::clone(&drops), [7; N]);
        match held {
            Held::Shared => {
                Slot::write_shared(place, kind, Class::High, true, head, Arc::new(event))
            }
            _ => Slot::write(place, kind, Class::High, true, head, event),
        }
    });
    assert_eq!(lane.tag.held, held);

    let (head, mut payload) = lane.split();
    let mut first = payload.share(head).unwrap();
    assert_eq!(
        payload.get(kind).unwrap().1,
        [7; N],
        "later subscriptions read on"
    );
    let second = payload.share(head).unwrap();
    assert_eq!(lane.tag.held, Held::Shared);
    assert_eq!(first.class(), Class::High);
    assert!(first.is_keyed());
    let (head, payload) = first.split();
    assert_eq!(payload.get(kind).unwrap().1, [7; N]);
    assert_eq!((head.key_hash, head.stamp, head.sequence), (11, 12, 13));
    assert_eq!((head.correlation.get(), head.causation.get()), (14, 15));
    assert!(Arc::ptr_eq(
        head.extras.as_ref().unwrap(),
        lane.head().extras.as_ref().unwrap()
    ));

    assert!(first.split().1.take(kind).is_none(), "others hold it");
    lane.split().1.discard();
    drop(lane);
    drop(second);
    assert_eq!(count(), 0);
    let taken = first.split().1.take(kind);
    assert!(first.is_empty(), "the last holder may take it");
    drop(first);
    assert_eq!(count(), 0);
    drop(taken);
    assert_eq!(count(), 1);
}

#[test]
fn a_payload_is_shared_where_it_lies() {
    check_share::<48>(Held::InPlace);
    check_share::<1000>(Held::Boxed);
    check_share::<4>(Held::Shared);
}

#[test]
fn over_aligned_and_empty_payloads_are_shared() {
    struct Nothing;
    impl Event for Nothing {
        const NAME: &'static str = "test.nothing";
    }
    let shared = slot(Nothing).share().unwrap();
    assert_eq!(shared.tag.held, Held::Shared);
    let mut shared = slot(Wide64([5; 64])).share().unwrap();
    let (_, payload) = shared.split();
    let event: &Wide64 = payload.get(EventType::of()).unwrap();
    assert_eq!(event.0, [5; 64]);
    assert!(std::ptr::from_ref(event).is_aligned());
}

#[test]
fn what_is_gone_cannot_be_shared_and_its_envelope_can_be_kept() {
    let drops = Arc::new(AtomicUsize::new(0));
    let kind = EventType::<Counted<8>>::of();
    let mut taken = slot(Counted(Arc::clone(&drops), [0; 8]));
    let value = taken.split().1.take(kind);
    let (head, mut payload) = taken.split();
    assert!(payload.share(head).is_none());
    let mut envelope = payload.envelope(head);
    assert!(envelope.is_empty());
    assert_eq!(envelope.type_index(), kind.index());
    assert!(envelope.split().1.get(kind).is_none());
    drop((taken, envelope));
    assert_eq!(drops.load(Ordering::Relaxed), 0);
    drop(value);
    assert_eq!(drops.load(Ordering::Relaxed), 1);
}

#[test]
fn an_event_at_rest_is_dropped_once_whatever_becomes_of_it() {
    let drops = Arc::new(AtomicUsize::new(0));
    let count = || drops.load(Ordering::Relaxed);
    let kind = EventType::<Counted<8>>::of();
    let make = || Kept::from(slot(Counted(Arc::clone(&drops), [3; 8])));

    drop(make());
    assert_eq!(count(), 1);

    let mut first = make();
    let second = first.clone();
    assert_eq!(first.get(kind).unwrap().1, [3; 8]);
    assert!(first.get(EventType::<Counted<9>>::of()).is_none());
    let mut slot = first.take();
    assert!(first.is_empty() && first.get(kind).is_none());
    assert!(first.clone().into_slot().is_empty());
    assert_eq!(slot.split().1.get(kind).unwrap().1, [3; 8]);
    drop((first, second));
    assert_eq!(count(), 1);
    let again = Kept::from(slot);
    drop(again.into_slot().split().1.take(kind));
    assert_eq!(count(), 2);
}

#[test]
fn pd6_a_panic_in_a_payloads_drop_is_contained_and_happens_once() {
    struct Bomb(Arc<AtomicUsize>);
    impl Event for Bomb {
        const NAME: &'static str = "test.bomb";
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::Relaxed);
            panic!("the bomb went off");
        }
    }
    let drops = Arc::new(AtomicUsize::new(0));
    drop(slot(Bomb(Arc::clone(&drops))));
    assert_eq!(drops.load(Ordering::Relaxed), 1);
    let mut handled = slot(Bomb(Arc::clone(&drops)));
    assert!(contain(|| handled.split().1.discard()).is_err());
    assert!(handled.is_empty());
    drop(handled);
    assert_eq!(drops.load(Ordering::Relaxed), 2);
    drop(Kept::from(slot(Bomb(Arc::clone(&drops)))));
    assert_eq!(drops.load(Ordering::Relaxed), 3);
}

#[test]
fn a_panic_value_that_panics_when_dropped_is_contained() {
    struct Nasty;
    impl Drop for Nasty {
        fn drop(&mut self) {
            panic!("from the panic value");
        }
    }
    let message = contain(|| std::panic::panic_any(Nasty)).unwrap_err();
    assert_eq!(message, "panicked with a value that is no text");
}
