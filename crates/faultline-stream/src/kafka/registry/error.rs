//! What a registry says no to, or does not say.

/// It is kept and given to everybody who waits for the same answer, so that it is text only.
#[derive(Clone, Debug, thiserror::Error)]
pub enum RegistryError {
    #[error("the schema registry cannot be used as it is configured: {reason}")]
    Options { reason: String },
    #[error(
        "the schema registry at {url} does not answer ({reason}); what needs a schema that is not known yet waits and is tried again, \
         the rest goes on: bring it back, or check its address"
    )]
    Unreachable { url: String, reason: String },
    #[error("the schema registry at {url} says {status} to {what}; check the user or the token, and what they may do; it is tried again")]
    NotAllowed { url: String, status: u16, what: String },
    #[error("what answers at {url} is no schema registry ({reason}); check the address and its path; it is tried again")]
    Strange { url: String, reason: String },
    #[error(
        "the schema registry does not take {subject} version {version}, as it is not compatible with what stands there: {reason}; \
         look at the versions of the subject that are not of this program"
    )]
    Incompatible { subject: &'static str, version: usize, reason: String },
    #[error("the schema registry says {status} to {what}: {reason}")]
    Refused { what: String, status: u16, reason: String },
    #[error("a value for topic {topic} has schema id {id}, which is none of that topic's; this is a fault of faultline")]
    NotOurs { topic: &'static str, id: u32 },
}

impl RegistryError {
    /// Whether the same question can be answered later, with nothing changed here.
    pub(crate) fn is_passing(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::NotAllowed { .. } | Self::Strange { .. })
    }
}
