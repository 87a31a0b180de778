//! The web page (`cloud/web`) as bytes in the program, built by this crate's build script. Not here: HTTP,
//! which headers go with a file, what an unknown path gets.

/// One file of the page.
#[derive(Debug)]
pub struct Asset {
    /// Path below the root, without a leading `/`.
    pub path: &'static str,
    /// For `Content-Type`.
    pub mime: &'static str,
    /// The file.
    pub bytes: &'static [u8],
    /// The same as brotli, for clients that take it; none where that saves nothing.
    pub brotli: Option<&'static [u8]>,
    /// Whether the name holds the hash of the content: it may be cached for ever.
    pub immutable: bool,
}

include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// The file at a path, with or without its leading `/`.
pub fn asset(path: &str) -> Option<&'static Asset> {
    let path = path.strip_prefix('/').unwrap_or(path);
    // The build script sorts them.
    let at = ASSETS.binary_search_by(|a| a.path.cmp(path)).ok()?;
    ASSETS.get(at)
}

/// The page itself; none in a program that was built without it.
pub fn index() -> Option<&'static Asset> {
    asset("index.html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_found_by_its_path_with_and_without_a_slash() {
        for a in ASSETS {
            assert_eq!(asset(a.path).map(|f| f.path), Some(a.path));
            assert_eq!(asset(&format!("/{}", a.path)).map(|f| f.path), Some(a.path));
            assert_eq!(a.immutable, a.path.starts_with("assets/"), "{}", a.path);
            assert_ne!(a.mime, "application/octet-stream", "{}", a.path);
            assert!(a.brotli.is_none_or(|small| small.len() < a.bytes.len()), "{}", a.path);
        }
    }

    #[test]
    fn what_is_not_there_is_not_found() {
        for path in
            ["", "/", "assets", "assets/", "../index.html", "//index.html", "index.html/", "index.html.br"]
        {
            assert!(asset(path).is_none(), "{path}");
        }
    }

    #[test]
    fn the_page_names_only_files_that_are_embedded() {
        // A program built without the page has nothing to name.
        let Some(page) = index() else { return assert!(ASSETS.is_empty()) };
        let text = std::str::from_utf8(page.bytes).unwrap();
        assert!(!page.immutable);
        let named: Vec<_> = text.split('"').filter(|part| part.starts_with('/')).collect();
        assert!(named.len() >= 3, "{named:?}");
        for path in named {
            assert!(asset(path).is_some(), "{path}");
        }
        // Inline scripts and styles would need a looser content policy.
        assert!(!text.contains("<style") && !text.contains("<script>") && !text.contains(" style="));
    }
}
