//! Atomic words: loom's, with orderings that a negative twin can take away.

use super::weakness::order;
pub(crate) use loom::sync::atomic::Ordering;

/// A model that has failed unwinds through drops, which loom has no more steps for.
fn is_over() -> bool {
    std::thread::panicking()
}

macro_rules! word {
    ($name:ident, $value:ty) => {
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
                self.0.load(order(asked))
            }

            #[track_caller]
            pub(crate) fn store(&self, value: $value, asked: Ordering) {
                if !is_over() {
                    self.0.store(value, order(asked));
                }
            }

            #[track_caller]
            pub(crate) fn swap(&self, value: $value, asked: Ordering) -> $value {
                self.0.swap(value, order(asked))
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
                    .compare_exchange(current, new, order(success), order(failure))
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
                    .compare_exchange_weak(current, new, order(success), order(failure))
            }
        }
    };
}

macro_rules! number {
    ($name:ident, $value:ty) => {
        word!($name, $value);

        impl $name {
            #[track_caller]
            pub(crate) fn fetch_add(&self, by: $value, asked: Ordering) -> $value {
                self.0.fetch_add(by, order(asked))
            }

            #[track_caller]
            pub(crate) fn fetch_sub(&self, by: $value, asked: Ordering) -> $value {
                self.0.fetch_sub(by, order(asked))
            }

            #[track_caller]
            pub(crate) fn fetch_or(&self, other: $value, asked: Ordering) -> $value {
                self.0.fetch_or(other, order(asked))
            }

            #[track_caller]
            pub(crate) fn fetch_and(&self, other: $value, asked: Ordering) -> $value {
                self.0.fetch_and(other, order(asked))
            }

            #[track_caller]
            pub(crate) fn fetch_max(&self, other: $value, asked: Ordering) -> $value {
                self.0.fetch_max(other, order(asked))
            }
        }
    };
}

word!(AtomicBool, bool);
number!(AtomicU8, u8);
number!(AtomicU32, u32);
number!(AtomicU64, u64);
number!(AtomicUsize, usize);
