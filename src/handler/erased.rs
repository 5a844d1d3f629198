//! Typed handlers behind one face, and the recipes by which each worker makes its own.
//!
//! publish → route → lane → worker → **handler** → outcome

use super::{Context, Handler, WorkerId};
use crate::event::{Descriptor, Event, EventType, Payload, contain};
use crate::outcome::{Failure, IntoOutcome, Outcome};
use crate::sync::Arc;
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

/// A handler of one event type on one worker.
pub(crate) trait Erased {
    fn call(&mut self, payload: &mut Payload<'_>, context: &mut Context<'_>) -> Outcome;
    /// After a panic: state that may be half changed is made anew.
    fn renew(&mut self) -> Result<(), Failure>;
}

/// What a recipe makes on a worker: a handler for each event type.
pub(crate) type Made = Vec<(&'static Descriptor, Box<dyn Erased>)>;

/// How a subscription's handlers are made on a worker. Shared by all workers, called on each.
pub(crate) trait Recipe: Send + Sync {
    fn events(&self) -> Vec<&'static Descriptor>;
    fn takes_by_value(&self) -> bool;
    /// Whether making the handlers is the user's code.
    fn can_fail(&self) -> bool {
        false
    }
    fn make(&self, worker: WorkerId) -> Result<Made, Failure>;
}

impl fmt::Debug for dyn Recipe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.events().iter().map(|event| event.name))
            .finish()
    }
}

/// A closure shared by all workers.
struct ByRef<E, F> {
    event_type: EventType<E>,
    handler: Arc<F>,
}

impl<E, F, R> Erased for ByRef<E, F>
where
    E: Event,
    F: Fn(&E, &mut Context<'_>) -> R,
    R: IntoOutcome,
{
    #[inline]
    fn call(&mut self, payload: &mut Payload<'_>, context: &mut Context<'_>) -> Outcome {
        match payload.get(self.event_type) {
            Some(event) => (self.handler)(event, context).into_outcome(),
            None => gone(),
        }
    }

    fn renew(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

#[cold]
fn gone() -> Outcome {
    Outcome::Failed(Failure::new(
        "the event's value is gone: a subscription that takes by value had it first",
    ))
}

struct ByRefRecipe<E, F> {
    event_type: EventType<E>,
    handler: Arc<F>,
}

/// The recipe of a closure that looks at the event.
pub(crate) fn by_ref<E, F, R>(handler: F) -> Arc<dyn Recipe>
where
    E: Event,
    F: Fn(&E, &mut Context<'_>) -> R + Send + Sync + 'static,
    R: IntoOutcome + 'static,
{
    Arc::new(ByRefRecipe {
        event_type: EventType::<E>::of(),
        handler: Arc::new(handler),
    })
}

impl<E, F, R> Recipe for ByRefRecipe<E, F>
where
    E: Event,
    F: Fn(&E, &mut Context<'_>) -> R + Send + Sync + 'static,
    R: IntoOutcome + 'static,
{
    fn events(&self) -> Vec<&'static Descriptor> {
        vec![self.event_type.descriptor()]
    }

    fn takes_by_value(&self) -> bool {
        false
    }

    fn make(&self, _worker: WorkerId) -> Result<Made, Failure> {
        Ok(vec![(
            self.event_type.descriptor(),
            Box::new(ByRef {
                event_type: self.event_type,
                handler: Arc::clone(&self.handler),
            }),
        )])
    }
}

/// A closure that takes the event.
struct ByValue<E, F> {
    event_type: EventType<E>,
    handler: Arc<F>,
}

impl<E, F, R> Erased for ByValue<E, F>
where
    E: Event,
    F: Fn(E, &mut Context<'_>) -> R,
    R: IntoOutcome,
{
    #[inline]
    fn call(&mut self, payload: &mut Payload<'_>, context: &mut Context<'_>) -> Outcome {
        match payload.take(self.event_type) {
            Some(event) => (self.handler)(event, context).into_outcome(),
            None => Outcome::Failed(Failure::new(
                "the event is still shared with a pool whose subscription was withdrawn while it waited, so it cannot be taken by value",
            )),
        }
    }

    fn renew(&mut self) -> Result<(), Failure> {
        Ok(())
    }
}

struct ByValueRecipe<E, F> {
    event_type: EventType<E>,
    handler: Arc<F>,
}

/// The recipe of a closure that takes the event.
pub(crate) fn by_value<E, F, R>(handler: F) -> Arc<dyn Recipe>
where
    E: Event,
    F: Fn(E, &mut Context<'_>) -> R + Send + Sync + 'static,
    R: IntoOutcome + 'static,
{
    Arc::new(ByValueRecipe {
        event_type: EventType::<E>::of(),
        handler: Arc::new(handler),
    })
}

impl<E, F, R> Recipe for ByValueRecipe<E, F>
where
    E: Event,
    F: Fn(E, &mut Context<'_>) -> R + Send + Sync + 'static,
    R: IntoOutcome + 'static,
{
    fn events(&self) -> Vec<&'static Descriptor> {
        vec![self.event_type.descriptor()]
    }

    fn takes_by_value(&self) -> bool {
        true
    }

    fn make(&self, _worker: WorkerId) -> Result<Made, Failure> {
        Ok(vec![(
            self.event_type.descriptor(),
            Box::new(ByValue {
                event_type: self.event_type,
                handler: Arc::clone(&self.handler),
            }),
        )])
    }
}

type Factory<H> = dyn Fn(WorkerId) -> Result<H, Failure> + Send + Sync;

/// The state of a factory's handler on one worker, shared by the event types it serves. `None` after a
/// panic whose renewal failed.
struct State<H> {
    handler: RefCell<Option<H>>,
    factory: Arc<Factory<H>>,
    worker: WorkerId,
}

struct Stateful<E, H> {
    event_type: EventType<E>,
    state: Rc<State<H>>,
}

impl<E: Event, H: Handler<E>> Erased for Stateful<E, H> {
    #[inline]
    fn call(&mut self, payload: &mut Payload<'_>, context: &mut Context<'_>) -> Outcome {
        let Some(event) = payload.get(self.event_type) else {
            return gone();
        };
        match &mut *self.state.handler.borrow_mut() {
            Some(handler) => handler.handle(event, context),
            None => Outcome::Failed(Failure::new(
                "the handler's state was lost in a panic and its factory failed to make another",
            )),
        }
    }

    fn renew(&mut self) -> Result<(), Failure> {
        let old = self.state.handler.borrow_mut().take();
        // The old state's drop is the user's code, and may panic like any other.
        let _ = contain(|| drop(old));
        let new = make(&*self.state.factory, self.state.worker)?;
        *self.state.handler.borrow_mut() = Some(new);
        Ok(())
    }
}

fn make<H>(factory: &Factory<H>, worker: WorkerId) -> Result<H, Failure> {
    match contain(|| factory(worker)) {
        Ok(made) => made,
        Err(panic) => Err(Failure::panicked(panic)),
    }
}

/// From a state of a type that only the installer knows to a handler.
type Wrap = dyn Fn(Rc<dyn std::any::Any>) -> Option<Box<dyn Erased>> + Send + Sync;

/// Wraps a state for one event type.
pub(crate) struct Installer<H> {
    descriptor: &'static Descriptor,
    wrap: Box<Wrap>,
    handler: std::marker::PhantomData<fn(H)>,
}

impl<H: 'static> Installer<H> {
    pub(crate) fn of<E: Event>() -> Self
    where
        H: Handler<E>,
    {
        let event_type = EventType::<E>::of();
        Self {
            descriptor: event_type.descriptor(),
            wrap: Box::new(move |state| {
                let state = state.downcast::<State<H>>().ok()?;
                Some(Box::new(Stateful { event_type, state }))
            }),
            handler: std::marker::PhantomData,
        }
    }
}

struct FactoryRecipe<H> {
    factory: Arc<Factory<H>>,
    installers: Vec<Installer<H>>,
}

/// The recipe of a factory, for the event types of `installers`.
pub(crate) fn from_factory<H: 'static>(
    factory: Arc<Factory<H>>,
    installers: Vec<Installer<H>>,
) -> Arc<dyn Recipe> {
    Arc::new(FactoryRecipe {
        factory,
        installers,
    })
}

impl<H: 'static> Recipe for FactoryRecipe<H> {
    fn can_fail(&self) -> bool {
        true
    }

    fn events(&self) -> Vec<&'static Descriptor> {
        self.installers
            .iter()
            .map(|installer| installer.descriptor)
            .collect()
    }

    fn takes_by_value(&self) -> bool {
        false
    }

    fn make(&self, worker: WorkerId) -> Result<Made, Failure> {
        let handler = make(&*self.factory, worker)?;
        let state: Rc<State<H>> = Rc::new(State {
            handler: RefCell::new(Some(handler)),
            factory: Arc::clone(&self.factory),
            worker,
        });
        Ok(self
            .installers
            .iter()
            .filter_map(|installer| {
                let erased = (installer.wrap)(Rc::<State<H>>::clone(&state))?;
                Some((installer.descriptor, erased))
            })
            .collect())
    }
}
