//! Dashboards and rules by themselves: nothing is wrong with those that are made, and whatever is spoilt in them is found.
//! What shows only with data is tried in quebert's own tests.

use quebert_dashboards::{
    Bundle, Settings,
    check::{Finding, Weight, by_itself},
};

fn wrong(bundle: &Bundle) -> Vec<Finding> {
    by_itself(bundle).into_iter().filter(|finding| finding.weight == Weight::Wrong).collect()
}

#[test]
fn nothing_is_wrong_with_what_is_made() {
    let findings = wrong(&Bundle::new(&Settings::default()));
    assert!(findings.is_empty(), "{findings:#?}");
}
