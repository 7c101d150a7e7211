//! What each finding says: observations of the size that real reports have (title about 80 bytes, description about 300).
//!
//! Places are laid out so that nothing becomes one risk by accident: within a service every group has its own lines, package,
//! route, resource or secret.

use super::Scale;
use super::random::{draw, pick, prose};
use super::shape::{self, Role};
use super::vulnerabilities;
use crate::id::Id;
use crate::locus::{Code, Locus, Package, Resource, Route, Secret};
use crate::observation::{Cvss, Observation, Severity};

/// A weakness that scanners of code report: CWE, a kin CWE of the same family, the words of two tools, what people read.
#[derive(Clone, Copy)]
struct Weakness {
    cwe: i32,
    kin: i32,
    semgrep: &'static str,
    codeql: &'static str,
    title: &'static str,
}

const fn weakness(cwe: i32, kin: i32, semgrep: &'static str, codeql: &'static str, title: &'static str) -> Weakness {
    Weakness { cwe, kin, semgrep, codeql, title }
}

/// The last is of no family that can be joined: only one tool reports it.
const IN_CODE: [Weakness; 8] = [
    weakness(327, 326, "java.lang.security.audit.crypto.weak-cipher", "java/weak-cryptographic-algorithm", "Broken cipher for stored data"),
    weakness(328, 916, "java.lang.security.audit.crypto.weak-hash", "java/weak-hash", "Password hashed without a work factor"),
    weakness(330, 338, "java.lang.security.audit.weak-random", "java/insecure-randomness", "Predictable random number as a token"),
    weakness(117, 117, "java.lang.security.audit.log-injection", "java/log-injection", "Log entry written from request input"),
    weakness(611, 776, "java.lang.security.audit.xxe", "java/xxe", "XML parser resolves external entities"),
    weakness(
        502,
        502,
        "java.lang.security.audit.object-deserialization",
        "java/unsafe-deserialization",
        "Object read from untrusted bytes",
    ),
    weakness(295, 297, "java.lang.security.audit.tls-any-host", "java/insecure-trustmanager", "Certificate of the peer is not verified"),
    weakness(20, 20, "java.lang.correctness.unchecked-input", "java/improper-validation", "Input used as an index without a check"),
];

/// What an attack proves and a code scanner reports of the handler.
const PROVEN: [Weakness; 5] = [
    weakness(89, 943, "java.spring.security.injection.tainted-sql", "java/sql-injection", "SQL statement built from request input"),
    weakness(79, 80, "java.spring.security.injection.tainted-html", "java/xss", "Page written from request input"),
    weakness(22, 23, "java.spring.security.injection.tainted-path", "java/path-injection", "File opened by a name out of the request"),
    weakness(78, 77, "java.spring.security.injection.tainted-command", "java/command-line-injection", "Command built from request input"),
    weakness(918, 918, "java.spring.security.injection.tainted-url", "java/ssrf", "Address of an outgoing call out of the request"),
];
/// ZAP's rule for each entry of [`PROVEN`].
const ZAP_PROVEN: [&str; 5] = ["40018", "40012", "6", "90020", "40046"];
/// What an attack finds that no code scanner sees: ZAP's rule, CWE, title.
const ZAP_ONLY: [(&str, i32, &str); 3] = [
    ("10020", 1021, "Response may be framed by any site"),
    ("10011", 614, "Session cookie is sent without the Secure flag"),
    ("90022", 209, "Error page shows a stack trace"),
];
/// What scanners of infrastructure report: CWE, the words of two tools, resource type, title.
const IN_RESOURCES: [(i32, &str, &str, &str, &str); 4] = [
    (732, "CKV_AWS_20", "38c5ee0d-7f22-4260-ab72-5073048df100", "aws_s3_bucket", "Bucket can be read by everybody"),
    (250, "CKV_K8S_16", "dd29336b-fe57-445b-a26e-e6aa867ae609", "kubernetes_deployment", "Container runs with all privileges"),
    (311, "CKV_AWS_16", "08bd0760-8752-44e1-9779-7bb369b2b4e4", "aws_db_instance", "Database is stored without encryption"),
    (284, "CKV_AWS_24", "65905cec-d691-4320-b320-2000436cb696", "aws_security_group", "Port 22 is open to the internet"),
];
const SECRETS: [(&str, &str, &str); 3] = [
    ("aws-access-token", "AKIA…", "Key of a cloud account in a configuration file"),
    ("github-pat", "ghp_…", "Personal access token of the forge in a script"),
    ("private-key", "", "Private key in a file of the repository"),
];
const NOUNS: [&str; 12] =
    ["Order", "Invoice", "Customer", "Basket", "Payment", "Product", "Review", "Shipment", "Account", "Ticket", "Report", "Session"];
const ECOSYSTEMS: [(&str, &str); 3] =
    [("pkg:npm/", "package-lock.json"), ("pkg:maven/org.acme/", "pom.xml"), ("pkg:pypi/", "requirements.txt")];
const SEVERITIES: [Severity; 8] = [
    Severity::Low,
    Severity::Low,
    Severity::Medium,
    Severity::Medium,
    Severity::Medium,
    Severity::High,
    Severity::High,
    Severity::Critical,
];

/// A finding of a service, for which numbers are drawn.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub scale: &'a Scale,
    pub service: u64,
    pub finding: u64,
}

impl Seen<'_> {
    /// A number that is this finding's own, for one purpose.
    fn draw(self, purpose: u64) -> u64 {
        draw(self.scale.seed, &[self.service, self.finding, purpose])
    }

    /// The finding that this one is one risk with; itself where it is the first.
    fn first(self) -> Self {
        Self { finding: shape::first_of_risk(self.finding), ..self }
    }

    fn block(self) -> u64 {
        shape::place(self.finding).0
    }

    fn slot(self) -> u64 {
        shape::place(self.finding).1
    }

    /// What its tool reports.
    pub fn observation(self) -> Observation {
        match shape::role(self.finding) {
            Role::Code { twin } => self.code(twin),
            Role::Handler => self.handler(),
            Role::Aliased { twin } => self.aliased(twin),
            Role::Shipped { twin } => self.shipped(twin),
            Role::Package => self.lone_package(),
            Role::Attack { proves } => self.attack(proves),
            Role::Secret { .. } => self.secret(),
            Role::Resource { .. } => self.resource(),
        }
    }

    /// A finding with the texts of its rule; the title says where.
    fn of_rule(self, rule: &str, title: &str, place: &str, locus: Locus) -> Observation {
        let text = rule.bytes().fold(self.scale.seed, |state, byte| draw(state, &[u64::from(byte)]));
        let mut seen = Observation::new(rule, pick(&SEVERITIES, self.first().draw(1)), locus);
        seen.title = format!("{title} in {place}");
        seen.description = prose(text, 300);
        seen.guidance = prose(!text, 120);
        seen.references = vec![format!("https://docs.acme.example/rules/{rule}")];
        seen
    }

    fn code(self, is_twin: bool) -> Observation {
        let first = self.first();
        let kinds = if first.slot() == 0 { &IN_CODE[..IN_CODE.len() - 1] } else { &IN_CODE[..] };
        let kind = pick(kinds, first.draw(2));
        let layer = if first.slot() < 5 { "Service" } else { "Repository" };
        let class = format!("{}{}{layer}", pick(&NOUNS, first.block()), first.block());
        // Fifty lines a finding, of which the first thirty may begin one: never within the gap that joins two places.
        let line = 20 + 50 * first.slot() as i32 + (first.draw(3) % 30) as i32;
        let line = if is_twin { line + (self.draw(4) % 3) as i32 } else { line };
        let place = Code {
            file: format!("src/main/java/com/acme/{class}.java"),
            line,
            end_line: line + 1,
            column: 9,
            symbol: format!("com.acme.{class}.step{}", first.slot()),
            snippet: format!("{:016x}", first.draw(5)),
            parameter: String::new(),
        };
        let is_codeql = shape::tool_of(self.finding) == shape::CODEQL;
        let (rule, cwe) = if is_codeql { (kind.codeql, kind.kin) } else { (kind.semgrep, kind.cwe) };
        let symbol = place.symbol.clone();
        let mut seen = self.of_rule(rule, kind.title, &symbol, Locus::Code(place));
        seen.cwes = vec![cwe];
        seen
    }

    fn handler(self) -> Observation {
        let kind = pick(&PROVEN, self.draw(2));
        let handler = route(self.scale, self.service, self.block());
        let place = Code {
            line: handler.line + 4,
            end_line: handler.line + 5,
            column: 13,
            snippet: format!("{:016x}", self.draw(5)),
            parameter: handler.parameter.to_owned(),
            file: handler.file,
            symbol: handler.symbol,
        };
        let symbol = place.symbol.clone();
        let mut seen = self.of_rule(kind.semgrep, kind.title, &symbol, Locus::Code(place));
        seen.cwes = vec![kind.cwe];
        seen
    }

    fn attack(self, proves: bool) -> Observation {
        let handler = route(self.scale, self.service, self.block());
        let place = Route {
            method: handler.method.to_owned(),
            origin: format!("https://{}.acme.example", super::service_id(self.service)),
            path: handler.visited,
            parameter: if proves { handler.parameter.to_owned() } else { String::new() },
        };
        let path = place.path.clone();
        let (rule, cwe, title) = if proves {
            let at = (self.first().draw(2) % PROVEN.len() as u64) as usize;
            (ZAP_PROVEN[at], PROVEN[at].kin, PROVEN[at].title)
        } else {
            pick(&ZAP_ONLY, self.draw(2))
        };
        let mut seen = self.of_rule(rule, title, &path, Locus::Route(place));
        seen.cwes = vec![cwe];
        seen
    }

    /// A package that is this finding's own within the service, with a vulnerability.
    fn package(self, ids: Vec<String>, is_in_image: bool) -> Observation {
        let first = self.first();
        let (prefix, manifest) = pick(&ECOSYSTEMS, first.draw(6));
        let name = format!("{}-kit-{}", pick(&NOUNS, first.draw(7)).to_lowercase(), first.finding);
        let version = format!("{}.{}.{}", first.draw(8) % 5, first.draw(9) % 20, first.draw(10) % 10);
        let fixed = format!("{}.0.1", first.draw(8) % 5 + 1);
        let (manifest, layer) =
            if is_in_image { (String::new(), format!("sha256:{}", "5e".repeat(32))) } else { (manifest.into(), String::new()) };
        let place = Package { purl: format!("{prefix}{name}"), version: version.clone(), manifest, layer };
        let title = format!("{} lets an attacker who is not signed in stop the service", ids[0]);
        let mut seen = self.of_rule(&ids[0], &title, &format!("{name} {version}"), Locus::Package(place));
        seen.cwes = vec![pick(&[400, 502, 79, 1333], first.draw(11))];
        seen.references = ids.iter().map(|id| format!("https://osv.dev/vulnerability/{id}")).collect();
        seen.vulnerabilities = ids;
        seen.cvss = vec![cvss(seen.severity)];
        seen.fixed_versions = vec![fixed];
        seen
    }

    fn aliased(self, is_twin: bool) -> Observation {
        let (cve, ghsa) = vulnerabilities::aliases(self.block());
        let ids = match (is_twin, self.block().is_multiple_of(2)) {
            (false, _) => vec![cve],
            // Only intelligence says that the two are one.
            (true, true) => vec![ghsa],
            (true, false) => vec![ghsa, cve],
        };
        self.package(ids, false)
    }

    fn shipped(self, is_twin: bool) -> Observation {
        self.package(vec![vulnerabilities::common(self.first().draw(12))], is_twin)
    }

    fn lone_package(self) -> Observation {
        let ordinal = self.scale.lone_packages_before(self.service) + shape::lone_packages(self.finding);
        let id = self.scale.touched_by(ordinal).unwrap_or_else(|| vulnerabilities::common(self.draw(12)));
        self.package(vec![id], shape::tool_of(self.finding) == shape::TRIVY_IMAGE)
    }

    fn secret(self) -> Observation {
        let first = self.first();
        let (rule, preview, title) = pick(&SECRETS, first.draw(2));
        let place = Secret {
            hash: format!("{:016x}{:016x}", first.draw(5), first.draw(6)),
            preview: preview.into(),
            file: format!("deploy/{}/settings-{}.env", pick(&["dev", "stage", "prod"], first.draw(7)), first.block()),
            line: 1 + (first.draw(3) % 40) as i32,
            commit: String::new(),
        };
        let file = place.file.clone();
        let mut seen = self.of_rule(rule, title, &file, Locus::Secret(place));
        seen.cwes = vec![798];
        seen
    }

    fn resource(self) -> Observation {
        let first = self.first();
        let (cwe, checkov, kics, kind, title) = pick(&IN_RESOURCES, first.draw(2));
        let line = 1 + 40 * (first.slot() as i32 - 18);
        let place = Resource {
            address: format!("{kind}.{}_{}", pick(&NOUNS, first.draw(7)).to_lowercase(), first.finding),
            file: format!("infra/module-{}/main.tf", first.block()),
            line,
            end_line: line + 30,
        };
        let rule = if shape::tool_of(self.finding) == shape::KICS { kics } else { checkov };
        let address = place.address.clone();
        let mut seen = self.of_rule(rule, title, &address, Locus::Resource(place));
        seen.cwes = vec![cwe];
        seen
    }
}

/// A vector of about the level's weight.
fn cvss(severity: Severity) -> Cvss {
    let (vector, base_tenths) = match severity {
        Severity::Info | Severity::Low => ("CVSS:3.1/AV:L/AC:H/PR:L/UI:R/S:U/C:N/I:N/A:L", 20),
        Severity::Medium => ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:L", 53),
        Severity::High => ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:H", 75),
        Severity::Critical => ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H", 98),
    };
    Cvss { version: "3.1".into(), vector: vector.into(), base_tenths }
}

/// An entry of a service's route map, one a block, and how a scanner visits it.
pub(super) struct Handler {
    pub method: &'static str,
    pub template: String,
    pub visited: String,
    pub file: String,
    pub symbol: String,
    pub line: i32,
    pub parameter: &'static str,
}

/// The route of a block.
pub(super) fn route(scale: &Scale, service: u64, block: u64) -> Handler {
    let own = |purpose: u64| draw(scale.seed, &[service, block, 100 + purpose]);
    let noun = pick(&NOUNS, block);
    let class = format!("{noun}{block}Controller");
    let place = format!("/api/v1/{}-{block}", noun.to_lowercase());
    Handler {
        method: pick(&["GET", "POST", "PUT"], own(1)),
        template: format!("{place}/{{id}}"),
        visited: format!("{place}/{}", own(2) % 100_000),
        file: format!("src/main/java/com/acme/{class}.java"),
        symbol: format!("com.acme.{class}.handle"),
        line: 30 + (own(3) % 200) as i32,
        parameter: pick(&["q", "name", "file", "host", "sort"], own(4)),
    }
}

/// The digest by which an image of a service goes in a round of scans.
pub(super) fn digest(scale: &Scale, service: u64, round: u32) -> String {
    let half = |part: &[u8]| Id::of("digest", &[&scale.seed.to_le_bytes(), &service.to_le_bytes(), &round.to_le_bytes(), part]);
    format!("sha256:{}{}", half(b"1"), half(b"2"))
}
