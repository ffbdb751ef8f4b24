//! Every crate we link may be linked: its licence is on the list.

use scope_tests::house;

/// Licences that let a user of ours do what ours lets them do. MPL is file-level, so linking is fine.
const ACCEPTED: [&str; 14] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MPL-2.0",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

#[test]
fn every_crate_has_an_accepted_licence() {
    let metadata = house::metadata();
    let refused: Vec<_> = metadata["packages"]
        .as_array()
        .unwrap()
        .iter()
        .map(|package| {
            (
                package["name"].as_str().unwrap(),
                package["license"].as_str().unwrap_or("none stated"),
            )
        })
        .filter(|(_, licence)| !accepted(licence))
        .collect();
    assert!(refused.is_empty(), "{refused:#?}");
}

/// Whether one side of the expression's ORs has only accepted licences. Old crates write `/` for OR.
fn accepted(expression: &str) -> bool {
    expression
        .replace('/', " OR ")
        .replace(['(', ')'], " ")
        .split(" OR ")
        .any(|choice| {
            choice
                .split(" AND ")
                .all(|licence| ACCEPTED.contains(&licence.trim()))
        })
}

#[test]
fn an_expression_is_accepted_by_one_clean_choice() {
    assert!(accepted("MIT OR Apache-2.0"));
    assert!(accepted("MIT/Apache-2.0"));
    assert!(accepted("GPL-3.0 OR MIT"));
    assert!(accepted("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(!accepted("GPL-3.0"));
    assert!(!accepted("MIT AND GPL-3.0"));
    assert!(!accepted("none stated"));
}
