//! What the organisation allows of exceptions: part of the catalog, beside the risk policy.

use faultline_model::id::Id;
use serde::{Deserialize, Serialize};
use serde_yaml_ng::Value;

use super::exception::Longest;

/// The longest term that can be allowed, in days.
const DAYS: i64 = 3_650;

/// What the organisation allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ExceptionPolicy {
    /// The longest term, by the band of the highest score that an exception may cover.
    pub longest_days: Longest,
    /// How long before its end it is called expiring.
    pub warning_days: i64,
}

impl Default for ExceptionPolicy {
    fn default() -> Self {
        Self { longest_days: Longest::default(), warning_days: 14 }
    }
}

/// Why a policy is refused.
#[derive(Debug, thiserror::Error)]
pub enum ExceptionPolicyError {
    #[error("{0}")]
    Yaml(#[from] serde_yaml_ng::Error),
    #[error("longest_days of {band} is {days}: 1 to {DAYS} are possible")]
    Days { band: &'static str, days: i64 },
    #[error("longest_days falls from {above} to {below}: what is worse is not accepted for longer")]
    Falls { above: &'static str, below: &'static str },
    #[error("warning_days is {0}: 0 to {DAYS} are possible")]
    Warning(i64),
}

impl ExceptionPolicy {
    /// Reads what stands under `exceptions` of a description, or a text that [`Self::to_yaml`] wrote.
    ///
    /// ```
    /// use faultline_core::act::policy::ExceptionPolicy;
    ///
    /// let policy = ExceptionPolicy::read("longest_days: { critical: 14 }")?;
    /// assert_eq!((policy.longest_days.critical, policy.longest_days.low), (14, 365));
    /// assert!(ExceptionPolicy::read("longest_days: { critical: 100 }").is_err());
    /// # Ok::<(), faultline_core::act::policy::ExceptionPolicyError>(())
    /// ```
    pub fn read(yaml: &str) -> Result<Self, ExceptionPolicyError> {
        Self::of_value(serde_yaml_ng::from_str(yaml)?)
    }

    pub(crate) fn of_value(value: Value) -> Result<Self, ExceptionPolicyError> {
        let policy: Self = serde_yaml_ng::from_value(value)?;
        let Longest { critical, high, medium, low } = policy.longest_days;
        let bands = [("critical", critical), ("high", high), ("medium", medium), ("low", low)];
        if let Some((band, days)) = bands.into_iter().find(|(_, days)| !(1..=DAYS).contains(days)) {
            return Err(ExceptionPolicyError::Days { band, days });
        }
        if let Some(pair) = bands.windows(2).find(|pair| pair[0].1 > pair[1].1) {
            return Err(ExceptionPolicyError::Falls { above: pair[0].0, below: pair[1].0 });
        }
        if !(0..=DAYS).contains(&policy.warning_days) {
            return Err(ExceptionPolicyError::Warning(policy.warning_days));
        }
        Ok(policy)
    }

    /// The whole policy, defaults included.
    pub fn to_yaml(&self) -> String {
        serde_yaml_ng::to_string(self).expect("numbers can be written")
    }

    /// Another one for another policy.
    pub fn version(&self) -> String {
        Id::of("exception policy", &[self.to_yaml().as_bytes()]).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_meant_is_refused() {
        let refused = |yaml: &str| ExceptionPolicy::read(yaml).unwrap_err().to_string();
        assert_eq!(refused("longest_days: { high: 0 }"), "longest_days of high is 0: 1 to 3650 are possible");
        assert_eq!(
            refused("longest_days: { high: 200 }"),
            "longest_days falls from high to medium: what is worse is not accepted for longer"
        );
        assert_eq!(refused("warning_days: -1"), "warning_days is -1: 0 to 3650 are possible");
        assert!(refused("longest: 3").contains("longest"));
        let policy = ExceptionPolicy::read("{ warning_days: 7 }").unwrap();
        assert_eq!(ExceptionPolicy::read(&policy.to_yaml()).unwrap(), policy);
        assert_ne!(policy.version(), ExceptionPolicy::default().version());
    }
}
