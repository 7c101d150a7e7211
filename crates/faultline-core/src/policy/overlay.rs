//! A policy as what differs from a preset.

use serde_yaml_ng::{Mapping, Value};

use super::{PRESETS, PolicyError};

const FIELDS: [&str; 4] = ["preset", "overrides", "name", "version"];

/// The preset with the overrides in it. Without a version of its own it has the preset's and a hash of what differs, so that no
/// two policies share one.
pub(super) fn merged(overlay: &Value) -> Result<Value, PolicyError> {
    let preset = overlay.get("preset").and_then(Value::as_str).unwrap_or_default();
    let Some((_, yaml)) = PRESETS.iter().find(|(name, _)| *name == preset) else {
        let known: Vec<&str> = PRESETS.iter().map(|(name, _)| *name).collect();
        return Err(PolicyError::UnknownPreset { found: preset.to_owned(), known: known.join(", ") });
    };
    let fields = overlay.as_mapping().into_iter().flat_map(Mapping::keys).map(|key| key.as_str().unwrap_or("?"));
    if let Some(key) = fields.into_iter().find(|key| !FIELDS.contains(key)) {
        return Err(PolicyError::UnknownOverride { key: key.to_owned(), preset: preset.to_owned(), known: FIELDS.join(", ") });
    }
    let mut whole: Value = serde_yaml_ng::from_str(yaml)?;
    let before = whole.clone();
    if let Some(overrides) = overlay.get("overrides").filter(|overrides| !overrides.is_null()) {
        merge(&mut whole, overrides, preset, "")?;
    }
    let changed = whole != before;
    let version_differs = whole.get("version") != before.get("version");
    for field in ["name", "version"] {
        if let (Some(value), Some(whole)) = (overlay.get(field), whole.as_mapping_mut()) {
            whole.insert(field.into(), value.clone());
        }
    }
    if changed && !version_differs && overlay.get("version").is_none() {
        let resolved = super::resolved(&whole)?;
        let hash = blake3::hash(resolved.to_yaml().as_bytes()).to_hex();
        if let Some(whole) = whole.as_mapping_mut() {
            whole.insert("version".into(), format!("{}+{}", resolved.version, &hash[..8]).into());
        }
    }
    Ok(whole)
}

/// Puts values in place of those that are there; `ssvc` may be new.
fn merge(whole: &mut Value, overrides: &Value, preset: &str, above: &str) -> Result<(), PolicyError> {
    let (Value::Mapping(whole), Value::Mapping(overrides)) = (&mut *whole, overrides) else {
        whole.clone_from(overrides);
        return Ok(());
    };
    for (key, value) in overrides {
        let name = format!("{above}{}", key.as_str().unwrap_or("?"));
        match whole.get_mut(key) {
            Some(there) => merge(there, value, preset, &format!("{name}."))?,
            None if name == "ssvc" => _ = whole.insert(key.clone(), value.clone()),
            None => {
                let known: Vec<&str> = whole.keys().filter_map(Value::as_str).collect();
                return Err(PolicyError::UnknownOverride { key: name, preset: preset.to_owned(), known: known.join(", ") });
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Policy;

    #[test]
    fn what_differs_replaces_what_the_preset_says_and_makes_a_version() {
        let policy = Policy::read("preset: balanced\noverrides: { exposure: { partner: 80 }, due_days: { critical: 3 } }").unwrap();
        let expected = Policy { version: policy.version.clone(), ..Policy::balanced() };
        assert_eq!((policy.exposure.partner, policy.due_days.critical), (80, 3));
        assert_eq!(policy.threat, expected.threat);
        assert!(policy.version.starts_with("balanced-1+"), "{}", policy.version);
        let other = Policy::read("preset: balanced\noverrides: { exposure: { partner: 81 } }").unwrap();
        assert_ne!(policy.version, other.version);
        assert_eq!(Policy::read("preset: threat-led").unwrap().version, "threat-led-1");
        let named = Policy::read("{ preset: balanced, name: acme, version: acme-3, overrides: { control: { least: -10 } } }").unwrap();
        assert_eq!((named.name.as_str(), named.version.as_str(), named.control.least), ("acme", "acme-3", -10));
        assert_eq!(Policy::read(&policy.to_yaml()).unwrap(), policy);
    }

    #[test]
    fn errors_name_the_key_that_is_wrong() {
        for (yaml, says) in [
            ("preset: balancd", "preset is \"balancd\"; expected one of balanced"),
            ("{ preset: balanced, overides: {} }", "overides is not a field"),
            ("{ preset: balanced, overrides: { exposure: { web: 1 } } }", "exposure.web is not a field"),
            ("{ preset: balanced, overrides: { exposure: { internet: -1 } } }", "exposure is [-150, 0, 50, -1]"),
            ("{ preset: balanced, overrides: { exposure: 7 } }", "exposure"),
            ("{ preset: balanced, overrides: { age: { most: much } } }", "age.most"),
        ] {
            let error = Policy::read(yaml).unwrap_err().to_string();
            assert!(error.contains(says), "{yaml}: {error}");
        }
    }
}
