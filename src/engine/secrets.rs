//! stub
/// stub
#[derive(Debug, Default)]
pub struct Given;
impl Given {
    /// stub
    pub fn new(_: &[String], _: &[String], _: &std::path::Path, _: &std::collections::BTreeMap<String, String>) -> Result<Self, super::EngineError> { Ok(Self) }
    /// stub
    pub fn secret(&self, _: &str) -> Result<Option<Vec<u8>>, std::io::Error> { Ok(None) }
    /// stub
    pub fn agent(&self, _: &str) -> Option<&std::path::Path> { None }
}
