//! What comes as a deployment. A bundle is text that only a sandbox reads; what the server reads of it is around it.

use bulkhead_api::Deploy;
use bulkhead_egress::Rule;
use bulkhead_sched::frequency::Frequency;
use bulkhead_types::FunctionSpec;

/// The body of a deployment.
pub fn run(data: &[u8]) {
    let Ok(deploy) = serde_json::from_slice::<Deploy>(data) else { return };
    for function in deploy.functions {
        let Ok(spec) = serde_json::from_value::<FunctionSpec>(function.spec) else { continue };
        if let Some(frequency) = &spec.frequency {
            // Whether it is one is all that is asked here.
            drop(Frequency::parse(frequency));
        }
        if let Ok(rules) = Rule::read_all(&spec.egress) {
            assert_eq!(rules.len(), spec.egress.len());
        }
        let units = spec.limits.units();
        assert!(units.cpu >= 1 && spec.limits.soft_ms() <= spec.limits.time_ms);
        // A version's name is the hash of what is written: reading must not change it.
        let text = serde_json::to_string(&spec).expect("a spec can be written");
        let again: FunctionSpec = serde_json::from_str(&text).expect("and read again");
        assert_eq!(again, spec);
    }
}
