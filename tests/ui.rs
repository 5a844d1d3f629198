//! What the compiler says of a wrong `#[derive(Event)]`, and that right ones compile and do what they say.
//!
//! The words are the derive's own, so that they do not change with the compiler. After a change of them,
//! `TRYBUILD=overwrite cargo test --test ui` writes them down anew.

#![cfg(feature = "macros")]

#[test]
fn mistakes_are_told_where_they_are_made() {
    trybuild::TestCases::new().compile_fail("tests/ui/fail/*.rs");
}

#[test]
fn what_is_right_compiles_and_holds() {
    trybuild::TestCases::new().pass("tests/ui/pass/*.rs");
}

#[cfg(feature = "json")]
#[test]
fn codecs_compile_and_hold() {
    trybuild::TestCases::new().pass("tests/ui/json/*.rs");
}
