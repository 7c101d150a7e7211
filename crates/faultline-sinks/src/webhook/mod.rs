//! Webhooks: notices as signed HTTP requests, by Standard Webhooks.
//!
//! | part | where |
//! | --- | --- |
//! | configured | [`Endpoint`], out of a file that `faultline_core::notify::read` reads |
//! | desired | the outbox of the stage `notify`: what each destination is to be told |
//! | actual | what the destination answers: [`Client`] |
//! | difference | [`Postman`] takes what is due, has it told, and says what became of it |

mod actual;
mod config;
mod guard;
mod message;
mod postman;

pub use actual::{Answer, Client, ClientError};
pub use config::{Endpoint, EndpointError};
pub use guard::is_public;
pub use message::{Message, MessageError, message};
pub use postman::{Answers, Options, Postman, PostmanError, Standing};
