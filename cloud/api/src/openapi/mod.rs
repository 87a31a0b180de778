//! tmp
/// tmp
pub fn text() -> &'static str {
    "{}"
}
