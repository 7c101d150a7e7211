//! What the parts of a process may take of the memory that it is given.

const MEBIBYTE: usize = 1 << 20;
/// What is there before anything is worked on: the program, its threads, its clients' own structures.
const FIXED_BYTES: usize = 128 * MEBIBYTE;

/// A process's memory, and what its parts may take of it, for some ten tasks. The parts come to a tenth more than the whole at most, and are
/// never full all at once; what the allocator holds between what is in use has the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryBudget {
    /// Resident memory of the process, more or less a tenth, whatever the size of the state.
    pub total_bytes: usize,
    /// For [`Options::memory_budget_bytes`](crate::Options::memory_budget_bytes).
    pub rocksdb_bytes: usize,
    /// For [`KafkaOptions::buffer_bytes`](crate::KafkaOptions::buffer_bytes).
    pub buffer_bytes: usize,
    /// For [`HostOptions::at_hand_bytes`](crate::HostOptions::at_hand_bytes).
    pub at_hand_bytes: usize,
    /// The page cache of who writes the views.
    pub views_writer_bytes: usize,
    /// Of each who reads them.
    pub views_reader_bytes: usize,
    /// For [`HostOptions::batch_bytes`](crate::HostOptions::batch_bytes).
    pub batch_bytes: usize,
}

impl MemoryBudget {
    /// What a process takes in any case.
    pub const LEAST_BYTES: usize = 256 * MEBIBYTE;

    /// Less than [`Self::LEAST_BYTES`] is taken for that.
    pub fn of(total_bytes: usize) -> Self {
        let total_bytes = total_bytes.max(Self::LEAST_BYTES);
        Self {
            total_bytes,
            rocksdb_bytes: (total_bytes - FIXED_BYTES) / 2,
            buffer_bytes: (total_bytes / 16).min(64 * MEBIBYTE),
            at_hand_bytes: (total_bytes - FIXED_BYTES) / 6,
            views_writer_bytes: (total_bytes / 8).min(64 * MEBIBYTE),
            views_reader_bytes: (total_bytes / 64).min(8 * MEBIBYTE),
            batch_bytes: (total_bytes / 128).min(4 * MEBIBYTE),
        }
    }
}

/// What the process has resident, where the system tells as Linux does.
#[must_use]
pub fn resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(kibibytes.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_leave_room_for_what_lies_between_them() {
        for total in [0, 256, 300, 512, 1024, 65_536].map(|mebibytes| mebibytes * MEBIBYTE) {
            let MemoryBudget { total_bytes, rocksdb_bytes, buffer_bytes, at_hand_bytes, batch_bytes, .. } = MemoryBudget::of(total);
            // Stages and views read, tasks are restored; two stages of four tasks each, and the workers, have a batch.
            let parts = FIXED_BYTES + rocksdb_bytes + at_hand_bytes + 3 * buffer_bytes + 10 * batch_bytes;
            assert!(parts <= total_bytes + total_bytes / 10, "{total}: {parts} of {total_bytes}");
            assert!(rocksdb_bytes >= 16 * MEBIBYTE && buffer_bytes >= 8 * MEBIBYTE && batch_bytes >= 2 * MEBIBYTE);
        }
    }
}
