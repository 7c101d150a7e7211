//! What is to be changed to repair a risk. A fix's id hashes that, never the service or the members.

use faultline_model::asset::AssetKind;
use faultline_model::id::Id;
use faultline_model::observation::LIST_ENTRIES;
use faultline_model::purl;
use faultline_model::risk::Fix;

use super::facts::{Finding, Place};

/// The fix of a risk: by its founder's place. Other anchor findings may be repaired elsewhere or found another risk: `also`.
pub fn fix<'a>(founder: &Finding, anchors: &[&Finding], most_severe_first: impl Iterator<Item = &'a Finding>) -> Fix {
    let (id, kind, what) = change(founder);
    let mut also: Vec<Id> =
        anchors.iter().filter(|finding| finding.id != founder.id).map(|finding| change(finding).0).filter(|other| *other != id).collect();
    also.sort_unstable();
    also.dedup();
    let mut guidance = String::new();
    let mut fixed_versions = Vec::new();
    for finding in most_severe_first {
        if guidance.is_empty() {
            guidance.clone_from(&finding.guidance);
        }
        fixed_versions.extend(finding.fixed_versions.iter().cloned());
    }
    fixed_versions.sort_unstable();
    fixed_versions.dedup();
    fixed_versions.truncate(LIST_ENTRIES);
    Fix { fix: id, also, kind: kind.to_owned(), what, guidance, fixed_versions }
}

/// Id, kind and words of what a finding's repair changes.
///
/// A package of a system that is in an image comes with the image's base; every other one is upgraded where it is brought in, an
/// application's package in an image too (tools name a layer for both, so a layer says nothing).
fn change(finding: &Finding) -> (Id, &'static str, String) {
    let asset = finding.asset.as_str();
    let id = |kind: &str, parts: [&str; 3]| {
        let [a, b, c] = parts;
        Id::of("fix", &[kind.as_bytes(), a.as_bytes(), b.as_bytes(), c.as_bytes()])
    };
    match &finding.place {
        Place::Code(code) => (Id::of("fix", &[b"code", &finding.id.0]), "code", at_line(&code.file, code.line)),
        Place::Route(route) => {
            (Id::of("fix", &[b"code", &finding.id.0]), "code", super::groups::route_words(&route.method, &finding.learned.template))
        }
        Place::Package(package) if finding.asset.kind() == AssetKind::Image && purl::is_of_system(&package.purl) => {
            (id("base_image", [asset, "base", ""]), "base_image", format!("base of {}", finding.asset.name()))
        }
        Place::Package(package) => {
            let place = if package.manifest.is_empty() { finding.asset.name() } else { &package.manifest };
            (
                id("upgrade", [asset, &package.manifest, &package.purl]),
                "upgrade",
                format!("{} in {place}", purl::display_name(&package.purl)),
            )
        }
        Place::Secret(secret) if secret.hash.is_empty() => {
            (Id::of("fix", &[b"rotate", &finding.id.0]), "rotate", at_line(&secret.file, secret.line))
        }
        Place::Secret(secret) => (id("rotate", [&secret.hash, "", ""]), "rotate", at_line(&secret.file, secret.line)),
        Place::Resource(resource) => {
            let what = if resource.address.is_empty() { &resource.file } else { &resource.address };
            (id("configure", [asset, what, ""]), "configure", what.clone())
        }
        Place::Host(host) => {
            let port = host.port.to_string();
            let what = if host.port > 0 { format!("{}:{port}", host.address) } else { host.address.clone() };
            (id("configure", [asset, &host.address, &port]), "configure", what)
        }
    }
}

fn at_line(file: &str, line: i32) -> String {
    if line > 0 { format!("{file}:{line}") } else { file.to_owned() }
}
