//! What the process takes of its memory, beside what it may.

use faultline_stream::{Family, Kind, MemoryBudget, Sample, resident_bytes};

/// What it may take; and what is resident, where the system tells as Linux does.
pub fn families(budget: MemoryBudget) -> Vec<Family> {
    let gauge = |name, help, bytes: u64| {
        let samples = vec![Sample { suffix: "", labels: Vec::new(), value: bytes as f64 }];
        Family { name, help, kind: Kind::Gauge, samples }
    };
    let mut families = vec![gauge(
        "faultline_memory_budget_bytes",
        "What the process may take in memory, more or less a tenth.",
        budget.total_bytes as u64,
    )];
    if let Some(bytes) = resident_bytes() {
        families.push(gauge("process_resident_memory_bytes", "Resident memory size in bytes.", bytes));
    }
    families
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_resident_is_told_beside_what_may_be() {
        let families = families(MemoryBudget::of(512 << 20));
        let value = |name: &str| families.iter().find(|family| family.name == name).map(|family| family.samples[0].value);
        assert_eq!(value("faultline_memory_budget_bytes"), Some(536_870_912.0));
        let resident = value("process_resident_memory_bytes");
        assert_eq!(resident.is_some(), cfg!(target_os = "linux"));
        assert!(resident.is_none_or(|bytes| bytes > 1e6), "{resident:?}");
    }
}
