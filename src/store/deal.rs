//! How a group's partitions are dealt out among its members: a pure function of who there is and who has what.

use super::retention::RetentionPin;

/// The members of a group, and what each has.
pub(crate) struct State {
    /// In the order in which they joined.
    pub(crate) members: Vec<u64>,
    pub(crate) joined: u64,
    pub(crate) partitions: Vec<Partition>,
    /// Where the one is that is furthest back, if the group holds retention.
    pub(crate) pin: Option<RetentionPin>,
}

/// A partition of a group's keys.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Partition {
    pub(crate) owner: Option<u64>,
    /// Who is to have it, as soon as its owner is done with what it was given.
    pub(crate) heir: Option<u64>,
    /// Everything of it before this position was acknowledged.
    pub(crate) checkpoint: u64,
}

impl State {
    /// Deals the partitions out among the members, as evenly as can be; who has one keeps it while that is fair.
    pub(crate) fn deal(&mut self) {
        let members = &self.members;
        let mut held: Vec<(u64, usize)> = members
            .iter()
            .map(|&member| {
                let is_its = |partition: &&Partition| partition.heir == Some(member);
                (member, self.partitions.iter().filter(is_its).count())
            })
            .collect();
        // Who has most gets one more, where they do not come out even.
        held.sort_by_key(|&(member, count)| (std::cmp::Reverse(count), member));
        let count = self.partitions.len();
        let mut left: Vec<(u64, usize)> = held
            .iter()
            .enumerate()
            .map(|(number, &(member, _))| {
                let share = count / held.len() + usize::from(number < count % held.len());
                (member, share)
            })
            .collect();
        for partition in &mut self.partitions {
            let heir = partition.heir.take();
            let kept = left
                .iter_mut()
                .find(|(member, left)| heir == Some(*member) && *left > 0);
            if let Some((_, left)) = kept {
                *left -= 1;
                partition.heir = heir;
            }
        }
        for partition in &mut self.partitions {
            if partition.heir.is_none()
                && let Some((member, left)) = left.iter_mut().find(|(_, left)| *left > 0)
            {
                *left -= 1;
                partition.heir = Some(*member);
            }
            if partition.owner.is_none() {
                partition.owner = partition.heir;
            }
        }
    }

    fn lowest(&self) -> u64 {
        let checkpoints = self.partitions.iter().map(|partition| partition.checkpoint);
        checkpoints.min().unwrap_or(0)
    }

    /// Lets retention have what all have acknowledged.
    pub(crate) fn move_pin(&self) {
        if let Some(pin) = &self.pin {
            pin.advance(self.lowest());
        }
    }
}
