//! Jira: one ticket a fix, in the project that the ticket policy names, Cloud and Data Center.
//!
//! | part | where |
//! | --- | --- |
//! | desired | `tickets.desired`: which tickets there should be, put into words by [`text`] |

pub mod text;
