//! What the calling thread is in the middle of, so that a call that would wait for itself is found out before it does.

use std::cell::RefCell;

thread_local! {
    static INSIDE: RefCell<Vec<(usize, bool)>> = const { RefCell::new(Vec::new()) };
}

/// While it lives, this thread applies records to a projection, or reads its view.
#[derive(Debug)]
pub(crate) struct Inside(());

impl Inside {
    /// The projection is told by the address of what its parts share.
    pub(crate) fn enter(projection: usize, is_inline: bool) -> Self {
        INSIDE.with_borrow_mut(|inside| inside.push((projection, is_inline)));
        Self(())
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        INSIDE.with_borrow_mut(|inside| _ = inside.pop());
    }
}

/// Whether this thread is inside this projection.
pub(crate) fn is_inside(projection: usize) -> bool {
    INSIDE.with_borrow(|inside| inside.iter().any(|&(found, _)| found == projection))
}

/// Whether this thread is inside any projection that is applied in the append.
pub(crate) fn is_inside_inline() -> bool {
    INSIDE.with_borrow(|inside| inside.iter().any(|&(_, is_inline)| is_inline))
}
