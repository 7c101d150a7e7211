//! People with roles and tokens, at a service in a process of its own.
#![allow(clippy::unwrap_used)]

mod service;

use std::path::Path;
use std::process::{Command, Output};

use faultline_core::access;
use faultline_model::access::{Role, Where};
use service::{SAMPLE, faultline, run, started, stop};

/// The page with the example that users copy.
const PAGE: &str = include_str!("../../../docs/access.md");

const CATALOG: &str = "\
organisation: [{ id: retail }, { id: bank }]
services:
- { id: shop, parent: retail, places: [{ repo: git.acme.example/shop }] }
- { id: ledger, parent: bank, places: [{ repo: git.acme.example/ledger }] }
";

/// The roles of the page.
fn roles() -> &'static str {
    PAGE.split("```yaml\n").nth(1).unwrap().split("```").next().unwrap()
}

#[test]
fn the_example_of_the_page_is_read_as_it_says() {
    let roles = access::read("docs/access.md", roles()).unwrap();
    let below = |name: &str| Where::Below(name.to_owned());
    let of = |actor: &str| roles.of(actor).into_iter().map(|held| (held.role, held.at)).collect::<Vec<_>>();
    assert_eq!(of("ben@acme.example"), [(Role::Triager, below("retail")), (Role::Triager, below("service/ledger"))]);
    assert_eq!(of("cem@acme.example"), [(Role::Admin, Where::Everywhere)]);
}

/// A service with the roles of the page, over a folder.
fn up(folder: &Path) -> (std::process::Child, String) {
    let path = folder.join("access.yaml");
    std::fs::write(&path, roles()).unwrap();
    let mut program = faultline(folder);
    program.env("FAULTLINE__ACCESS__ROLES", path);
    started(program, &["--listen", "127.0.0.1:0"]).unwrap()
}

/// A command of somebody elsewhere, with a token.
fn by(folder: &Path, url: &str, token: &str, arguments: &[&str]) -> Output {
    let mut program: Command = faultline(folder);
    program.env("FAULTLINE__HTTP__TOKEN", token).args(["--server", url]).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn ok(output: Output) -> String {
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout).trim().to_owned()
}

/// Whether any file below a folder holds a text.
fn holds(folder: &Path, wanted: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        let is_there = |bytes: Vec<u8>| bytes.windows(wanted.len()).any(|window| window == wanted.as_bytes());
        if path.is_dir() { holds(&path, wanted) } else { std::fs::read(&path).is_ok_and(is_there) }
    })
}

#[test]
fn a_token_is_made_used_and_taken_back() {
    let (folder, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let catalog = folder.path().join("catalog.yaml");
    std::fs::write(&catalog, CATALOG).unwrap();
    let (child, url) = up(folder.path());
    let here = |arguments: &[&str]| run(folder.path(), arguments);
    ok(here(&["catalog", "apply", catalog.to_str().unwrap()]));
    let create = |actor: &str, more: &[&str]| {
        let line = [&["tokens", "create", "--actor", actor, "--purpose", "a test"], more].concat();
        ok(here(&line))
    };
    let ana = create("ana@acme.example", &["--scope", "decide"]);
    let stranger = create("dan@acme.example", &["--scope", "decide"]);
    let pipeline = create("ci-shop", &["--scope", "publish", "--asset", "repo:git.acme.example/shop"]);
    let misspelt = here(&["tokens", "create", "--actor", "x", "--purpose", "p", "--scope", "read", "--node", "retial"]);
    assert!(misspelt.status.code() == Some(3) && text(&misspelt.stderr).contains("no unit \"retial\""), "{}", text(&misspelt.stderr));

    let elsewhere = elsewhere.path();
    let published = by(elsewhere, &url, &pipeline, &["publish", SAMPLE, "--asset", "repo:git.acme.example/shop", "--full"]);
    assert!(published.status.success() && text(&published.stdout).contains("9 observations"), "{}", text(&published.stderr));
    let refused = by(elsewhere, &url, &pipeline, &["publish", SAMPLE, "--asset", "repo:git.acme.example/ledger", "--full"]);
    assert!(!refused.status.success() && text(&[refused.stdout, refused.stderr].concat()).contains("ci-shop may not publish for"));
    ok(here(&["publish", SAMPLE, "--asset", "repo:git.acme.example/orphan", "--full"]));

    let count = |output: Output| serde_json::from_str::<serde_json::Value>(&ok(output)).unwrap()["total"]["count"].as_u64().unwrap();
    let list = ["risks", "list", "--json"];
    let (all, hers) = (count(here(&list)), count(by(elsewhere, &url, &ana, &list)));
    assert!(hers > 0 && all == 2 * hers, "she sees the shop, and not what belongs to nobody: {hers} of {all}");
    let theirs = by(elsewhere, &url, &stranger, &list);
    assert!(theirs.status.code() == Some(3) && text(&theirs.stderr).contains("dan@acme.example may not read"), "{}", text(&theirs.stderr));

    let tried = by(elsewhere, &url, &stranger, &["retract", "0123456789abcdef0123456789abcdef", "--reason", "so"]);
    assert!(tried.status.code() == Some(3), "{}", text(&tried.stderr));

    let risks: serde_json::Value = serde_json::from_str(&ok(by(elsewhere, &url, &ana, &list))).unwrap();
    let risk = risks["items"][0]["risk"].as_str().unwrap();
    ok(by(elsewhere, &url, &ana, &["decide", risk, "--verdict", "confirmed", "--reason", "seen"]));
    let decisions = ok(here(&["topics", "read", "decisions", "--json"]));
    assert!(decisions.contains("\"ana@acme.example\""), "a decision is in the name of the token's actor: {decisions}");
    let forged = by(elsewhere, &url, &ana, &["decide", risk, "--assign", "ben", "--actor", "ben"]);
    assert!(text(&forged.stderr).contains("cannot act in the name of"), "{}", text(&forged.stderr));

    assert!(ok(by(elsewhere, &url, &ana, &["whoami"])).contains("below retail, service/ledger"));
    let operator = here(&["whoami"]);
    assert!(text(&operator.stderr).contains("separation of duties rests on trust"), "{}", text(&operator.stderr));

    assert!(here(&["audit", "verify"]).status.success());
    assert_eq!(stop(child), 0);
    for token in [&ana, &stranger, &pipeline] {
        assert!(!holds(&folder.path().join("data"), token), "a token is kept");
    }
    let (child, url) = up(folder.path());
    assert_eq!(count(by(elsewhere, &url, &ana, &list)), hers, "it holds over a restart");
    let listed = ok(here(&["tokens", "list"]));
    let id = listed.lines().find(|line| line.contains("ana@")).unwrap().split_whitespace().next().unwrap();
    assert!(ok(here(&["tokens", "revoke", id])).starts_with("revoked"));
    let late = by(elsewhere, &url, &ana, &list);
    assert!(late.status.code() == Some(2) && text(&late.stderr).contains("taken back"), "{}", text(&late.stderr));
    assert_eq!(stop(child), 0);
    the_account(folder.path());
}

/// All of that is in the audit log, over the restart, and what is changed in it is found.
fn the_account(folder: &Path) {
    let here = |arguments: &[&str]| run(folder, arguments);
    let export = ok(here(&["audit", "export"]));
    let parts: [&[&str]; 5] = [
        &["PUT /v1/catalog", "written"],
        &["POST /v1/tokens", "of ci-shop: publish"],
        &["dan@acme.example", "refused", "POST /v1/retractions"],
        &["ana@acme.example", "\"verdict\\\":\\\"confirmed\\\"", "\"done\""],
        &["/revoke", "of ana@acme.example"],
    ];
    for parts in parts {
        assert!(export.lines().any(|line| parts.iter().all(|part| line.contains(part))), "{parts:?} in {export}");
    }
    let judge = |name: &str, text: &str, more: &[&str]| {
        let path = folder.join(name);
        std::fs::write(&path, text).unwrap();
        let output = here(&[&["audit", "verify", path.to_str().unwrap()], more].concat());
        (output.status.code().unwrap(), text_of(&output))
    };
    assert_eq!(judge("whole.jsonl", &export, &[]).0, 0);
    let heads = folder.join("heads.json");
    std::fs::write(&heads, ok(here(&["audit", "verify", "--json"]))).unwrap();
    let (code, said) = judge("altered.jsonl", &export.replacen("dan@", "don@", 1), &[]);
    assert!(code == 3 && said.contains("was altered"), "{said}");
    let last: Vec<&str> = export.lines().rev().skip(1).collect();
    let (code, said) = judge("ended.jsonl", &last.into_iter().rev().collect::<Vec<_>>().join("\n"), &["--heads", heads.to_str().unwrap()]);
    assert!(code == 3 && said.contains("is gone; its head was kept"), "{said}");
    let (code, said) = judge("torn.jsonl", &export[..export.len() - 9], &[]);
    assert!(code == 1 && said.contains("no entry of the audit log"), "{said}");
}

fn text_of(output: &Output) -> String {
    text(&[output.stdout.as_slice(), &output.stderr].concat())
}

#[test]
fn roles_that_cannot_be_read_are_told_before_anything_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.yaml");
    std::fs::write(&path, "roles: [{ who: ana, role: admn, at: '*' }]").unwrap();
    let mut program = faultline(folder.path());
    let checked = program.env("FAULTLINE__ACCESS__ROLES", &path).args(["config", "check"]).output().unwrap();
    let said = text(&checked.stderr);
    assert!(checked.status.code() == Some(2) && said.contains("access.roles") && said.contains("did you mean \"admin\"?"), "{said}");
    let mut program = faultline(folder.path());
    program.env("FAULTLINE__ACCESS__ROLES", &path);
    assert!(started(program, &["--listen", "127.0.0.1:0"]).unwrap_err().contains("roles[0].role"));
}
