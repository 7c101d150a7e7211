//! `faultline config check|show`.

use serde_json::json;

use crate::cli::{Common, ConfigCommand};
use crate::client::{sources, wrong_settings};
use crate::commands::{print_json, print_line, print_text};
use crate::failure::{Exit, Failure};
use crate::service::Roles;
use crate::settings::{SETTINGS, is_secret, serving};
use crate::show::Table;

pub fn run(common: &Common, command: &ConfigCommand) -> Result<Exit, Failure> {
    let is_check = matches!(command, ConfigCommand::Check);
    let loaded =
        sources(common).load().and_then(|layers| if is_check { serving(&layers, &Roles::all()).map(|()| layers) } else { Ok(layers) });
    let layers = match loaded {
        Err(error) if is_check && common.json => {
            let problems: Vec<String> = error.problems.iter().map(ToString::to_string).collect();
            print_json(&json!({ "ok": false, "problems": problems }));
            return Ok(Exit::WrongUse);
        }
        loaded => loaded.map_err(|error| wrong_settings(&error))?,
    };
    let doc = |key: &str| SETTINGS.iter().find(|setting| setting.key == key).map(|setting| setting.doc);
    let shown = |key: &str, value: &str| if is_secret(key) && !value.is_empty() { "***".to_owned() } else { value.to_owned() };
    match command {
        ConfigCommand::Check if common.json => print_json(&json!({ "ok": true })),
        ConfigCommand::Check => print_line(&format!("the configuration is well: {} settings", layers.len())),
        ConfigCommand::Show { .. } if common.json => {
            let entries = layers.iter().map(|(key, (value, origin))| {
                (key.clone(), json!({ "value": shown(key, value), "origin": origin.to_string(), "doc": doc(key) }))
            });
            print_json(&serde_json::Value::Object(entries.collect()));
        }
        ConfigCommand::Show { origin: with_origin } => {
            let mut table = Table::new(if *with_origin { &["key", "value", "origin"] } else { &["key", "value"] });
            for (key, (value, origin)) in &layers {
                let origin = with_origin.then(|| origin.to_string());
                table.row([key.clone(), shown(key, value)].into_iter().chain(origin));
            }
            print_text(&table.to_string());
        }
    }
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use crate::settings::SETTINGS;

    /// The reference page is written from the table: run with `FAULTLINE_WRITE_DOCS=1` after a change of it.
    #[test]
    fn the_reference_page_is_that_of_the_table() {
        let mut page = String::from(
            "# Settings\n\nOne YAML file, overridden by the environment, overridden by flags. In the file a dot is a level; in the environment \
             `http.listen` is\n`FAULTLINE__HTTP__LISTEN`, and `FAULTLINE__HTTP__TOKEN__FILE` names a file that holds the value. `faultline config \
             check` tells all errors at once,\n`faultline config show --origin` where each value comes from. This page is written from the \
             program's own table.\n\n| setting | default | what |\n| --- | --- | --- |\n",
        );
        for setting in SETTINGS {
            let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
            page.push_str(&format!("| `{}` | {default} | {} Accepted: {}. |\n", setting.key, setting.doc, setting.expected));
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/configuration.md");
        if std::env::var_os("FAULTLINE_WRITE_DOCS").is_some() {
            std::fs::write(path, &page).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap(), page, "run the tests once with FAULTLINE_WRITE_DOCS=1");
    }
}
