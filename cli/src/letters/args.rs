//! The command line of `ringbolt dead-letters`.

use super::line::Letter;
use crate::args::Format;
use crate::faults::FaultArgs;
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};
use ringbolt::Reason;
use std::path::PathBuf;

/// What stands below the options.
pub(crate) const NOTES: &str = "\
Examples:
  ringbolt run --fail-permanent 0.001 --dead-letters letters.jsonl
          A run that leaves letters
  ringbolt dead-letters list letters.jsonl --reason permanent --limit 20
          The first 20 of a kind: aligned on a terminal, tabs and no header in a pipe
  ringbolt dead-letters redeliver letters.jsonl --key 17
          The letters of a key into a fresh run; the file keeps what fails again
  ringbolt dead-letters discard letters.jsonl --id 3,5 --who ann --why 'test orders'
          Away with two of them; what was discarded is printed

Lines that are no letters are told with their number and field, and stay in the file.

Exit status:
  0    All well: all that was asked for was found, and all that was redelivered was handled
  1    A file that cannot be read or written, a line that is no letter, a letter that is not
       there, or letters that failed again
  2    Wrong usage
  130  Ctrl-C while redelivering (143: SIGTERM); the file has what was not handled";

/// What to do with a file of letters.
#[derive(Debug, Clone, Subcommand)]
pub(crate) enum Action {
    /// List letters, the oldest first, a line each
    List(ListArgs),
    /// Tell everything about one letter
    Show(ShowArgs),
    /// Deliver letters again into a fresh run; the file keeps those that fail again
    Redeliver(RedeliverArgs),
    /// Throw letters away, on record
    Discard(DiscardArgs),
}

/// Which letters are meant: all that agree with everything that is said here.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct FilterArgs {
    /// Letters of this subscription
    #[arg(long, value_name = "NAME")]
    subscription: Option<String>,

    /// Letters of events of this type
    #[arg(long, value_name = "NAME")]
    event: Option<String>,

    /// Letters for this reason
    #[arg(long, value_name = "REASON", value_parser = PossibleValuesParser::new(REASONS.map(Reason::name)))]
    reason: Option<String>,

    /// Letters of events with this key
    #[arg(long, value_name = "KEY", allow_hyphen_values = true)]
    key: Option<String>,
}

/// The letters of these numbers.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct IdArgs {
    /// The letters of these numbers, and no others
    #[arg(long = "id", value_name = "ID", value_delimiter = ',')]
    pub(crate) ids: Vec<u64>,
}

/// In the order of their declaration.
const REASONS: [Reason; 10] = [
    Reason::Exhausted,
    Reason::Permanent,
    Reason::Panic,
    Reason::Timeout,
    Reason::Validation,
    Reason::Decode,
    Reason::SequenceBlocked,
    Reason::BreakerPolicy,
    Reason::NoHandler,
    Reason::HeldFull,
];

impl FilterArgs {
    pub(crate) fn is_met(&self, letter: &Letter) -> bool {
        let agrees =
            |asked: &Option<String>, name: &str| asked.as_ref().is_none_or(|asked| asked == name);
        agrees(&self.subscription, &letter.subscription)
            && agrees(&self.event, &letter.event_name)
            && agrees(&self.reason, letter.reason.name())
            && (self.key.is_none() || self.key == letter.key)
    }

    fn is_empty(&self) -> bool {
        let Self {
            subscription,
            event,
            reason,
            key,
        } = self;
        [subscription, event, reason, key]
            .iter()
            .all(|asked| asked.is_none())
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ListArgs {
    /// A file of letters; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// So many letters at most [default: all]
    #[arg(long, value_name = "N")]
    pub(crate) limit: Option<usize>,

    /// Leave out so many first
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) offset: usize,

    /// How to print them; JSON is one object, with `letters` as the file has them and the `count` of all
    /// that are meant
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ShowArgs {
    /// A file of letters; `-` is stdin
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// The letter's number
    #[arg(value_name = "ID")]
    pub(crate) id: u64,

    /// How to print it; JSON is the letter as the file has it
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RedeliverArgs {
    /// A file of letters, which keeps those that are not handled
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) ids: IdArgs,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// Write what is left here, and leave FILE as it is
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,

    /// Worker threads [default: one less than there are cores, at least 1, at most 8]
    #[arg(long, value_name = "N", allow_negative_numbers = true, value_parser = clap::value_parser!(u16).range(1..=1_024))]
    pub(crate) workers: Option<u16>,

    /// Seed of planted faults; attempts go on counting where the letter's ended
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) seed: u64,

    /// How to print the result
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,

    #[command(flatten)]
    pub(crate) faults: FaultArgs,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct DiscardArgs {
    /// A file of letters
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) ids: IdArgs,

    #[command(flatten)]
    pub(crate) filter: FilterArgs,

    /// All letters
    #[arg(long, conflicts_with_all = ["ids", "subscription", "event", "reason", "key"])]
    all: bool,

    /// Who discards them; on record
    #[arg(long, value_name = "NAME", value_parser = not_blank)]
    pub(crate) who: String,

    /// Why; on record
    #[arg(long, value_name = "TEXT", value_parser = not_blank)]
    pub(crate) why: String,

    /// How to print the record
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
}

fn not_blank(text: &str) -> Result<String, String> {
    if text.trim().is_empty() {
        return Err("is empty, and it is what the record is for".to_owned());
    }
    Ok(text.to_owned())
}

impl Action {
    /// Why the arguments make no sense together.
    pub(crate) fn conflict(&self) -> Option<String> {
        match self {
            Self::List(_) | Self::Show(_) => None,
            Self::Redeliver(args) => args.faults.conflict(),
            Self::Discard(args) => {
                let is_nothing = !args.all && args.ids.ids.is_empty() && args.filter.is_empty();
                is_nothing.then(|| {
                    "nothing says which letters: give --id, --key, --subscription, --event or --reason, or --all for all of them"
                        .to_owned()
                })
            }
        }
    }
}
