//! Records of `catalog`, `intel`, `decisions`, `outcomes` and `dead-letters`.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{assets, ids, lists, maybe, numbers, texts, timestamps, verdicts};
use crate::catalog::{CatalogRecord, CodeOwners, Head, Node, PlaceRule, Places, PolicyText, Service};
use crate::dead_letter::DeadLetter;
use crate::decision::{
    Decided, Decision, FindingAssignment, FindingSeverity, FindingVerdict, LinkWord, Outcome, OutcomeStatus, RetractScan, ScanCounts, Word,
};
use crate::intel::{Aliases, EpssScore, IntelRecord, KevEntry, PublicExploit};
use crate::observation::Severity;

/// Values of `catalog`.
pub fn catalog_records() -> impl Strategy<Value = CatalogRecord> {
    let node = (texts(), texts(), texts(), texts(), lists())
        .prop_map(|(id, name, kind, parent, owners)| CatalogRecord::Node(Node { id, name, kind, parent, owners }));
    let service = (texts(), texts(), texts(), 1..=4_i32, texts(), lists(), lists(), lists()).prop_map(
        |(id, name, parent, tier, exposure, data, owners, path)| {
            CatalogRecord::Service(Service { id, name, parent, tier, exposure, data, owners, path })
        },
    );
    let rule =
        (texts(), texts(), lists(), maybe(texts())).prop_map(|(prefix, owner, users, rewrite)| PlaceRule { prefix, owner, users, rewrite });
    let owners = (texts(), lists()).prop_map(|(pattern, owners)| CodeOwners { pattern, owners });
    let places = (texts(), texts(), vec(rule, 0..3), vec(owners, 0..3)).prop_map(|(assets, default_branch, rules, code_owners)| {
        CatalogRecord::Places(Places { assets, default_branch, rules, code_owners })
    });
    let policy = (texts(), texts(), texts()).prop_map(|(name, version, yaml)| CatalogRecord::Policy(PolicyText { name, version, yaml }));
    let head = (any::<i64>(), timestamps(), texts(), texts())
        .prop_map(|(version, applied, actor, digest)| CatalogRecord::Head(Head { version, applied, actor, digest }));
    prop_oneof![node, service, places, policy, head]
}

/// Values of `intel`.
pub fn intel_records() -> impl Strategy<Value = IntelRecord> {
    let kev = (texts(), timestamps(), maybe(timestamps()), any::<bool>())
        .prop_map(|(name, added, due, ransomware)| IntelRecord::Kev(KevEntry { name, added, due, ransomware }));
    let epss = (0..=1_000_000_i32).prop_map(|probability_ppm| IntelRecord::Epss(EpssScore { probability_ppm }));
    let exploit = texts().prop_map(|source| IntelRecord::Exploit(PublicExploit { source }));
    let aliases = lists().prop_map(|ids| IntelRecord::Aliases(Aliases { ids }));
    prop_oneof![kev, epss, exploit, aliases]
}

/// Values of `decisions`.
pub fn decisions() -> impl Strategy<Value = Decision> {
    let verdict = (ids(), verdicts(), maybe(numbers()))
        .prop_map(|(finding, verdict, expected_version)| Decided::Verdict(FindingVerdict { finding, verdict, expected_version }));
    let assignment = (ids(), texts(), maybe(numbers()))
        .prop_map(|(finding, to, expected_version)| Decided::Assignment(FindingAssignment { finding, to, expected_version }));
    let retract = ids().prop_map(|scan| Decided::RetractScan(RetractScan { scan }));
    let severity = (ids(), maybe(prop::sample::select(Severity::ALL.to_vec())), maybe(numbers()))
        .prop_map(|(finding, severity, expected_version)| Decided::Severity(FindingSeverity { finding, severity, expected_version }));
    let link = (ids(), ids(), prop::sample::select(Word::ALL.to_vec()), maybe(numbers()))
        .prop_map(|(finding, to, word, expected_version)| Decided::Link(LinkWord { finding, to, word, expected_version }));
    let what = prop_oneof![verdict, assignment, severity, link, retract, Just(Decided::RetireAsset)];
    (texts(), assets(), texts(), texts(), timestamps(), what).prop_map(|(key, asset, actor, reason, at, what)| Decision {
        key,
        asset,
        actor,
        reason,
        at,
        what,
    })
}

/// Values of `outcomes`.
pub fn outcomes() -> impl Strategy<Value = Outcome> {
    let statuses = prop::sample::select(vec![OutcomeStatus::Done, OutcomeStatus::Refused, OutcomeStatus::Unfinished]);
    let counts = (numbers(), numbers(), numbers(), numbers(), numbers(), numbers())
        .prop_map(|(observed, new, known, refused, reopened, closed)| ScanCounts { observed, new, known, refused, reopened, closed });
    (texts(), statuses, texts(), maybe(assets()), timestamps(), maybe(counts), maybe(ids()))
        .prop_map(|(id, status, reason, asset, at, counts, subject)| Outcome { id, status, reason, asset, at, counts, subject })
}

/// Values of `dead-letters`.
pub fn dead_letters() -> impl Strategy<Value = DeadLetter> {
    (texts(), numbers(), any::<i64>(), texts(), texts(), maybe(vec(any::<u8>(), 0..64)))
        .prop_map(|(topic, partition, offset, reason, stage, value)| DeadLetter { topic, partition, offset, reason, stage, value })
}
