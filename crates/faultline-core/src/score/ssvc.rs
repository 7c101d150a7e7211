//! SSVC's steps on the page: each factor's line has what it added to the decision, with the value that it stands for.

use faultline_model::risk::{Contribution, Factor};

use crate::policy::ssvc::Steps;

/// Adds the steps to the lines of their factors.
pub(super) fn add(steps: &Steps, lines: &mut [Contribution], control: &mut Contribution) {
    let case = &steps.case;
    let decision = case.decision().name();
    for line in lines {
        let (points, value) = match line.factor {
            Factor::Technical => (steps.automatable, format!("automatable: {}", case.automatable.name())),
            Factor::Exploitation => (steps.exploitation, format!("exploitation: {}", case.exploitation.name())),
            Factor::Exposure => (steps.exposure, format!("exposure: {}", case.exposure.name())),
            Factor::Business => (steps.tier, format!("human impact: {}, decision: {decision}", case.human_impact.name())),
            Factor::Data => (steps.data, "counted in human impact".to_owned()),
            _ => continue,
        };
        line.points += points;
        line.because = format!("{} (SSVC {value})", line.because);
    }
    if steps.control < 0 {
        control.points += steps.control;
        control.because = format!("{} (SSVC exposure is one step smaller)", control.because);
    }
}
