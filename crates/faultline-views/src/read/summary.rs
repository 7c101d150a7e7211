//! What a node of the organisation, or all of it, has to carry.

use faultline_model::fixed;
use faultline_model::observation::Severity;
use faultline_model::risk::{EvidenceState, RiskState};
use rusqlite::types::Value;
use rusqlite::{Connection, params_from_iter};

use super::conditions::Conditions;
use super::risks::BELOW_NODE;
use crate::codes;
use crate::error::ViewError;
use crate::views::Views;
use crate::within::Within;

/// Counts of risks with their roll-up. All exact: they come from tallies that change with each risk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// In the order open, closed, false positive, accepted. Accepted ones are not open: no other count has them.
    pub by_state: Vec<(RiskState, u64)>,
    /// Open ones, the lowest band first.
    pub open_by_band: Vec<(Severity, u64)>,
    /// Open ones: reported, corroborated, verified.
    pub open_by_evidence: Vec<(EvidenceState, u64)>,
    /// 100 × log2(Σ 2^(score/100)) over open risks; 0 if there are none.
    pub roll_up: u32,
}

impl Views {
    /// The whole organisation, or the services anywhere below a node; of these, what a reader may see.
    pub fn summary(&self, node: Option<&str>, within: &Within) -> Result<Summary, ViewError> {
        Ok(of(&*self.reader()?, &services(node, within))?)
    }
}

/// Services that a reader may see, anywhere below a node if one is named.
pub(super) fn services(node: Option<&str>, within: &Within) -> Conditions {
    let mut services = Conditions::default();
    if let Some(node) = node {
        services.push(BELOW_NODE, [Value::from(node.to_owned())]);
    }
    services.within("service", within);
    services
}

/// Over the services that conditions name.
pub(super) fn of(connection: &Connection, services: &Conditions) -> rusqlite::Result<Summary> {
    let sql =
        format!("SELECT state, band, evidence, sum(risks), sum(loss) FROM tally WHERE {} GROUP BY state, band, evidence", services.sql());
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query(params_from_iter(services.values()))?;
    let mut states = [0; codes::RISK_STATES.len()];
    let mut bands = [0; Severity::ALL.len()];
    let mut evidence = [0; codes::EVIDENCE.len()];
    let mut loss = 0;
    while let Some(row) = rows.next()? {
        let column = |at: usize| row.get::<_, u32>(at).map(|code| code as usize);
        let (state, band, proof) = (column(0)?, column(1)?, column(2)?);
        let risks = row.get::<_, i64>(3)? as u64;
        states[state] += risks;
        if codes::RISK_STATES[state] == RiskState::Open {
            bands[band] += risks;
            evidence[proof] += risks;
            loss += row.get::<_, i64>(4)? as u64;
        }
    }
    Ok(Summary {
        by_state: codes::RISK_STATES.into_iter().zip(states).collect(),
        open_by_band: Severity::ALL.into_iter().zip(bands).collect(),
        open_by_evidence: codes::EVIDENCE.into_iter().zip(evidence).collect(),
        roll_up: fixed::roll_up(loss),
    })
}
