//! A token out of a file, which whoever issues it writes anew before it ends.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rdkafka::client::OAuthToken;
use serde_json::Value;

#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("the token in {} cannot be read: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    /// Never with what the file holds.
    #[error("{} holds no JWT as brokers take it: {what}", path.display())]
    Form { path: PathBuf, what: &'static str },
}

pub(crate) fn read(path: &Path) -> Result<OAuthToken, TokenError> {
    let text = std::fs::read_to_string(path).map_err(|error| TokenError::File { path: path.to_owned(), reason: error.to_string() })?;
    parsed(text.trim()).map_err(|what| TokenError::Form { path: path.to_owned(), what })
}

/// Its signature is for the brokers to check.
fn parsed(text: &str) -> Result<OAuthToken, &'static str> {
    let [_, claims, _] = text.split('.').collect::<Vec<_>>()[..] else { return Err("three parts with dots between are expected") };
    let claims = URL_SAFE_NO_PAD.decode(claims).map_err(|_| "its second part is not base64url")?;
    let claims: Value = serde_json::from_slice(&claims).map_err(|_| "its second part is not JSON")?;
    let subject = claims["sub"].as_str().filter(|subject| !subject.is_empty()).ok_or("it has no claim `sub`, a text")?;
    // NumericDate may have a fraction.
    let ends_at =
        claims["exp"].as_f64().filter(|seconds| (0.0..1e12).contains(seconds)).ok_or("it has no claim `exp`, seconds since 1970")?;
    Ok(OAuthToken { token: text.to_owned(), principal_name: subject.to_owned(), lifetime_ms: (ends_at * 1000.0) as i64 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn jwt(claims: &str) -> String {
        format!("eyJhbGciOiJub25lIn0.{}.", URL_SAFE_NO_PAD.encode(claims))
    }

    #[test]
    fn a_token_says_whose_it_is_and_when_it_ends() {
        let text = jwt(r#"{"sub":"system:serviceaccount:risk:faultline","exp":1800000000.5,"aud":["kafka"]}"#);
        let token = parsed(&text).unwrap();
        assert_eq!(token.principal_name, "system:serviceaccount:risk:faultline");
        assert_eq!(token.lifetime_ms, 1_800_000_000_500);
        assert_eq!(token.token, text);
    }

    #[test]
    fn what_is_no_token_is_said_without_what_it_is() {
        for (text, what) in [
            (String::new(), "three parts"),
            ("hunter2".to_owned(), "three parts"),
            ("a.b.c.d.e".to_owned(), "three parts"),
            ("a.hunter2!.c".to_owned(), "base64url"),
            (jwt("hunter2"), "JSON"),
            (jwt(r#"{"exp":1800000000}"#), "`sub`"),
            (jwt(r#"{"sub":"","exp":1800000000}"#), "`sub`"),
            (jwt(r#"{"sub":"me"}"#), "`exp`"),
            (jwt(r#"{"sub":"me","exp":"soon"}"#), "`exp`"),
        ] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("token");
            std::fs::write(&path, &text).unwrap();
            let said = read(&path).err().unwrap().to_string();
            assert!(said.contains(what) && said.contains("token") && !said.contains("hunter2"), "{said}");
        }
        assert!(read(Path::new("/nowhere/token")).err().unwrap().to_string().contains("/nowhere/token"));
    }

    #[test]
    fn a_token_is_read_anew_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        for subject in ["one", "two"] {
            std::fs::write(&path, jwt(&format!(r#"{{"sub":"{subject}","exp":1800000000}}"#)) + "\n").unwrap();
            assert_eq!(read(&path).ok().unwrap().principal_name, subject);
        }
    }
}
