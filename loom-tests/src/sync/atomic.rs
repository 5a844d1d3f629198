//! Atomic words: loom's, with orderings that a negative twin can take away.

use super::weakness::{Weakness, has, order_of_count, order_of_mark};
pub(crate) use loom::sync::atomic::Ordering;

fn order(asked: Ordering) -> Ordering {
    if has(Weakness::RelaxedWords) {
        Ordering::Relaxed
    } else {
        asked
    }
}

fn as_asked(asked: Ordering) -> Ordering {
    asked
}

/// A model that has failed unwinds through drops, which loom has no more steps for.
fn is_over() -> bool {
    std::thread::panicking()
}

macro_rules! word {
    ($name:ident, $value:ty, $order:path, $store_order:path) => {
        #[derive(Debug, Default)]
        pub(crate) struct $name(loom::sync::atomic::$name);

        impl $name {
            pub(crate) fn new(value: $value) -> Self {
                Self(loom::sync::atomic::$name::new(value))
            }

            #[track_caller]
            pub(crate) fn load(&self, asked: Ordering) -> $value {
                if is_over() {
                    return <$value>::default();
                }
                self.0.load($order(asked))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, asked: Ordering) {
                if !is_over() {
                    self.0.store(value, $store_order(asked));
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, asked: Ordering) -> $value {
                self.0.swap(value, $order(asked))
            }

            #[track_caller]
            pub(crate) fn compare_exchange(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0
                    .compare_exchange(current, new, $order(success), $order(failure))
            }

            #[track_caller]
            pub(crate) fn compare_exchange_weak(
                &self,
                current: $value,
                new: $value,
                success: Ordering,
                failure: Ordering,
            ) -> Result<$value, $value> {
                self.0
                    .compare_exchange_weak(current, new, $order(success), $order(failure))
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty, $order:path, $store_order:path) => {
        word!($name, $value, $order, $store_order);

        impl $name {
            #[track_caller]
            pub(crate) fn fetch_add(&self, by: $value, asked: Ordering) -> $value {
                self.0.fetch_add(by, $order(asked))
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, by: $value, asked: Ordering) -> $value {
                self.0.fetch_sub(by, $order(asked))
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, other: $value, asked: Ordering) -> $value {
                self.0.fetch_max(other, $order(asked))
            }
        }
    };
}

// 64-bit words are counts, boolean ones marks; the others are the states of protocols.
word!(AtomicBool, bool, as_asked, order_of_mark);
number!(AtomicU8, u8, order, order);
number!(AtomicU32, u32, order, order);
number!(AtomicU64, u64, as_asked, order_of_count);
number!(AtomicUsize, usize, order, order);
