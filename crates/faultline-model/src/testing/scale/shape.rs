//! What a service is made of, and which of its findings are one risk: the truth.
//!
//! The findings of a service are numbered from 0. Twenty in a row are a block: 9 SAST, 7 SCA, 1 DAST, 1 secret, 2 IaC. What a finding
//! is, and whom it is one with, follows from its slot in the block and the block's number alone. A finding that is one with another
//! always comes after it, so that a service that ends within a block has a truth as well.

use crate::observation::ScanKind;

/// Findings in a block.
pub(super) const BLOCK: u64 = 20;

/// Which asset of a service a tool looks at.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Repo,
    Image,
    Url,
}

/// A tool as it scans each service.
pub(super) struct Tool {
    pub name: &'static str,
    pub version: &'static str,
    pub kind: ScanKind,
    pub part: Part,
}

const fn tool(name: &'static str, version: &'static str, kind: ScanKind, part: Part) -> Tool {
    Tool { name, version, kind, part }
}

/// The tools, in the order in which they scan. Trivy looks at the repository and at the image.
pub(super) const TOOLS: [Tool; 11] = [
    tool("openapi", "3.0", ScanKind::Other, Part::Repo),
    tool("semgrep", "1.92.0", ScanKind::Sast, Part::Repo),
    tool("codeql", "2.19.1", ScanKind::Sast, Part::Repo),
    tool("trivy", "0.57.0", ScanKind::Sca, Part::Repo),
    tool("grype", "0.84.0", ScanKind::Sca, Part::Repo),
    tool("gitleaks", "8.21.1", ScanKind::Secret, Part::Repo),
    tool("trufflehog", "3.83.0", ScanKind::Secret, Part::Repo),
    tool("checkov", "3.2.300", ScanKind::Iac, Part::Repo),
    tool("kics", "2.1.3", ScanKind::Iac, Part::Repo),
    tool("trivy", "0.57.0", ScanKind::Sca, Part::Image),
    tool("zap", "2.15.0", ScanKind::Dast, Part::Url),
];

/// Places in [`TOOLS`].
pub(super) const OPENAPI: usize = 0;
pub(super) const SEMGREP: usize = 1;
pub(super) const CODEQL: usize = 2;
pub(super) const TRIVY: usize = 3;
pub(super) const GRYPE: usize = 4;
pub(super) const GITLEAKS: usize = 5;
pub(super) const TRUFFLEHOG: usize = 6;
pub(super) const CHECKOV: usize = 7;
pub(super) const KICS: usize = 8;
pub(super) const TRIVY_IMAGE: usize = 9;
pub(super) const ZAP: usize = 10;

/// What a finding is, by its place in the block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Code that one tool reports; `twin` is the second tool's word for the same place.
    Code { twin: bool },
    /// The handler of a route.
    Handler,
    /// A package with a vulnerability under its CVE; `twin` is the second tool's word, under the GHSA id.
    Aliased { twin: bool },
    /// A package in the manifest; `twin` is the same package in the image.
    Shipped { twin: bool },
    /// A package that one tool reports.
    Package,
    /// An attack on a route that hits what its handler is reported for (`proves`), or something that no code scanner sees.
    Attack { proves: bool },
    /// A secret; `twin` is the second tool's word for the secret of the block before.
    Secret { twin: bool },
    /// A resource; `twin` is the second tool's word for it.
    Resource { twin: bool },
}

/// A finding's block and slot.
pub(super) fn place(finding: u64) -> (u64, u64) {
    (finding / BLOCK, finding % BLOCK)
}

/// What a finding of a service is.
pub(super) fn role(finding: u64) -> Role {
    let (block, slot) = place(finding);
    match slot {
        1 => Role::Code { twin: true },
        2 => Role::Handler,
        0..=8 => Role::Code { twin: false },
        9 | 10 => Role::Aliased { twin: slot == 10 },
        11 | 12 => Role::Shipped { twin: slot == 12 },
        13..=15 => Role::Package,
        16 => Role::Attack { proves: block.is_multiple_of(2) },
        17 => Role::Secret { twin: block % 4 == 1 },
        _ => Role::Resource { twin: slot == 19 && block.is_multiple_of(3) },
    }
}

/// Which tool reports it, as a place in [`TOOLS`].
pub(super) fn tool_of(finding: u64) -> usize {
    let (_, slot) = place(finding);
    match role(finding) {
        Role::Code { twin: true } => CODEQL,
        Role::Code { .. } if matches!(slot, 5 | 7) => CODEQL,
        Role::Code { .. } | Role::Handler => SEMGREP,
        Role::Aliased { twin: true } => GRYPE,
        Role::Shipped { twin: true } => TRIVY_IMAGE,
        Role::Package if slot == 14 => GRYPE,
        Role::Package if slot == 15 => TRIVY_IMAGE,
        Role::Aliased { .. } | Role::Shipped { .. } | Role::Package => TRIVY,
        Role::Attack { .. } => ZAP,
        Role::Secret { twin } => {
            if twin {
                TRUFFLEHOG
            } else {
                GITLEAKS
            }
        }
        Role::Resource { twin } => {
            if twin {
                KICS
            } else {
                CHECKOV
            }
        }
    }
}

/// The first finding of the risk that a finding belongs to; itself where it is that.
pub(super) fn first_of_risk(finding: u64) -> u64 {
    match role(finding) {
        Role::Code { twin: true } | Role::Aliased { twin: true } | Role::Shipped { twin: true } | Role::Resource { twin: true } => {
            finding - 1
        }
        Role::Attack { proves: true } => finding - 14,
        Role::Secret { twin: true } => finding - BLOCK,
        _ => finding,
    }
}

/// Of the first so many findings of a service, those that are [`Role::Package`].
pub(super) fn lone_packages(findings: u64) -> u64 {
    let (blocks, rest) = place(findings);
    blocks * 3 + rest.clamp(13, 16) - 13
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_has_the_shares_that_are_promised() {
        let kinds = |kind| (0..BLOCK).filter(|finding| TOOLS[tool_of(*finding)].kind == kind).count();
        let shares = [ScanKind::Sast, ScanKind::Sca, ScanKind::Dast, ScanKind::Secret, ScanKind::Iac].map(kinds);
        assert_eq!(shares, [9, 7, 1, 1, 2]);
    }

    #[test]
    fn a_finding_is_one_with_an_earlier_one_of_another_tool() {
        for finding in 0..BLOCK * 24 {
            let first = first_of_risk(finding);
            assert!(first == finding || tool_of(first) != tool_of(finding));
            assert_eq!(first_of_risk(first), first);
        }
    }

    #[test]
    fn lone_packages_are_counted_without_walking() {
        for findings in 0..100 {
            let walked = (0..findings).filter(|finding| role(*finding) == Role::Package).count() as u64;
            assert_eq!(lone_packages(findings), walked);
        }
    }
}
