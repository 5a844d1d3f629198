//! What a subscription is ready for when its handler fails: the policies that the good path is measured with.

use crate::systems::said;
use ringbolt::{
    Breaker, BreakerPolicy, Builder, DeadLetterPolicy, Handle, RetryPolicy, SubscriptionBuilder,
    Window,
};
use std::time::Duration;

/// How long a window of time is; its tenths are what the good path has to notice.
const WINDOW: Duration = Duration::from_secs(10);

/// What is configured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Nothing: one attempt, and that is that.
    None,
    /// Retries, a breaker over the last hundred calls, and a dead-letter queue.
    CountWindow,
    /// The same, with a breaker over the last ten seconds.
    TimeWindow,
}

impl Rules {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::None => "no policies",
            Self::CountWindow => "policies, count window",
            Self::TimeWindow => "policies, time window",
        }
    }

    /// An engine with what the rules need of it.
    pub(crate) fn engine(self, builder: Builder) -> Builder {
        match self {
            Self::None => builder,
            Self::CountWindow | Self::TimeWindow => builder.dead_letters(DeadLetterPolicy::new()),
        }
    }

    /// A subscription in the making, with the rules.
    pub(crate) fn subscription(self, handle: &Handle) -> Result<SubscriptionBuilder, String> {
        let subscription = handle.subscription("measured");
        let window = match self {
            Self::None => return Ok(subscription),
            Self::CountWindow => Window::Count(100),
            Self::TimeWindow => Window::Time(WINDOW),
        };
        let policy = BreakerPolicy::new().window(window);
        let breaker = Breaker::new("measured", policy).map_err(said)?;
        Ok(subscription
            .retry(RetryPolicy::standard())
            .breaker(&breaker))
    }
}
