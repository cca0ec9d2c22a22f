//! The index of an archive (`Packages`), which apt has compared with the signed Release: what can be had, where it lies
//! there, and the digest of each file.
//!
//! Nothing of it is trusted further than that: a file's name is only ever part of an address, never a path here.

use std::io::{self, BufRead, Read as _};

use drydock_types::{PackageName, Sha256, Version};

use super::simulate::{architecture, version};

/// A line is never longer: the longest are lists of dependencies.
const LONGEST_LINE: u64 = 1 << 20;
/// The largest package that is fetched.
pub const MAX_FILE: u64 = 4 << 30;
/// So many entries of the wanted packages are kept: an archive that has more versions is made to fill the memory.
const MAX_ENTRIES: usize = 20_000;

/// One file of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Which package.
    pub name: PackageName,
    /// `amd64`, `all`.
    pub architecture: String,
    /// Its version.
    pub version: Version,
    /// What it was built from.
    pub source: String,
    /// The version of that.
    pub source_version: Version,
    /// Where it lies, below the archive's address.
    pub filename: String,
    /// Its size in bytes.
    pub size: u64,
    /// Its digest.
    pub sha256: Sha256,
}

/// Reads an index and keeps what is wanted. An entry of what is wanted must be whole and in order.
///
/// # Errors
/// When it cannot be read, or such an entry is of another form: shown.
pub fn read(mut from: impl BufRead, wanted: &dyn Fn(&str) -> bool) -> io::Result<Vec<Entry>> {
    let (mut found, mut stanza, mut line) = (Vec::new(), Stanza::default(), Vec::new());
    loop {
        line.clear();
        let read = (&mut from).take(LONGEST_LINE).read_until(b'\n', &mut line)?;
        if read as u64 == LONGEST_LINE {
            return Err(bad("a line of more than a MiB"));
        }
        let text = line.trim_ascii_end();
        if !text.is_empty() {
            stanza.take(text);
            continue;
        }
        let stanza = std::mem::take(&mut stanza);
        if let Some(name) = stanza.name.as_deref().filter(|name| wanted(name)) {
            let entry = stanza
                .entry()
                .ok_or_else(|| bad(&format!("the entry of {name} is not in order: {stanza:?}")))?;
            found.push(entry);
            if found.len() > MAX_ENTRIES {
                return Err(bad(&format!(
                    "more than {MAX_ENTRIES} entries of the packages that are looked for"
                )));
            }
        }
        if read == 0 {
            return Ok(found);
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The fields of one package that are of use here.
#[derive(Debug, Default)]
struct Stanza {
    name: Option<String>,
    architecture: Option<String>,
    version: Option<String>,
    source: Option<String>,
    filename: Option<String>,
    size: Option<String>,
    sha256: Option<String>,
}

impl Stanza {
    fn take(&mut self, line: &[u8]) {
        // What goes on from the line before begins with a space and is of no field that is read.
        let Some(colon) = line.iter().position(|byte| *byte == b':') else { return };
        let (field, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        let slot = match field.to_ascii_lowercase().as_slice() {
            b"package" => &mut self.name,
            b"architecture" => &mut self.architecture,
            b"version" => &mut self.version,
            b"source" => &mut self.source,
            b"filename" => &mut self.filename,
            b"size" => &mut self.size,
            b"sha256" => &mut self.sha256,
            _ => return,
        };
        if value.len() <= 1024 {
            *slot = Some(String::from_utf8_lossy(value).into_owned());
        }
    }

    fn entry(&self) -> Option<Entry> {
        let name = PackageName::parse(self.name.as_deref()?).ok()?;
        let own = version(self.version.as_deref()?)?;
        let (source, source_version) = match self.source.as_deref() {
            None => (name.to_string(), own.clone()),
            Some(text) => match text.split_once(" (") {
                None => (text.to_owned(), own.clone()),
                Some((source, rest)) => (source.to_owned(), version(rest.strip_suffix(')')?)?),
            },
        };
        PackageName::parse(&source).ok()?;
        Some(Entry {
            name,
            architecture: architecture(self.architecture.as_deref()?)?,
            version: own,
            source,
            source_version,
            filename: below(self.filename.as_deref()?)?,
            size: self.size.as_deref()?.parse().ok().filter(|size| (1..=MAX_FILE).contains(size))?,
            sha256: Sha256::parse(self.sha256.as_deref()?).ok()?,
        })
    }
}

/// A place below the archive's address: no way up, no address of its own, nothing that would be read as an option.
fn below(text: &str) -> Option<String> {
    let text = text.trim_start_matches("./");
    let fine = |c: char| c.is_ascii_graphic() && !matches!(c, '\\' | '"' | '?' | '#');
    let part = |part: &str| !matches!(part, "" | "." | "..") && !part.starts_with('-');
    (!text.is_empty() && text.chars().all(fine) && text.split('/').all(part)).then(|| text.to_owned())
}

/// Its address: what stands in a name only as itself is quoted, once.
#[must_use]
pub fn address(base: &str, filename: &str) -> String {
    let mut address = format!("{}/", base.trim_end_matches('/'));
    for c in filename.chars() {
        if c.is_ascii_alphanumeric() || "/-._~+:@!$&'()*,;=".contains(c) {
            address.push(c);
        } else {
            address.push_str(&format!("%{:02x}", c as u32));
        }
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "Package: libtool0\nVersion: 2.0-1+b1\nArchitecture: amd64\nMulti-Arch: same\nMaintainer: x <x@x>\n\
        Source: toolsrc (2.0-1)\nDescription: a\n long one\nFilename: pool/libtool0_2.0-1+b1_amd64.deb\nSize: 728\n\
        SHA256: 1ba92c5734039d949afd6dbaf3f22a1d9a471d5137510dc560c4ad6395deb3ec\n";

    fn all(text: &str) -> io::Result<Vec<Entry>> {
        read(text.as_bytes(), &|_| true)
    }

    #[test]
    fn an_entry_is_read_with_its_source_and_its_digest() {
        let text =
            format!("{ONE}\n{}", ONE.replace("Source: toolsrc (2.0-1)\n", "").replace("libtool0", "tool"));
        let found = all(&text).unwrap();
        let seen: Vec<_> = found
            .iter()
            .map(|it| {
                (
                    it.name.as_str(),
                    it.version.as_str(),
                    it.source.as_str(),
                    it.source_version.as_str(),
                    it.size,
                )
            })
            .collect();
        assert_eq!(
            seen,
            [
                ("libtool0", "2.0-1+b1", "toolsrc", "2.0-1", 728),
                ("tool", "2.0-1+b1", "tool", "2.0-1+b1", 728)
            ]
        );
        assert!(found[0].sha256.to_string().starts_with("1ba92c57"));
        assert_eq!(read(text.as_bytes(), &|name| name == "tool").unwrap().len(), 1);
    }

    #[test]
    fn an_entry_that_could_do_harm_is_refused_and_named_and_others_are_not_in_its_way() {
        for (right, wrong) in [
            ("Filename: pool/libtool0", "Filename: ../../../etc/x"),
            ("Filename: pool/", "Filename: /etc/"),
            ("Filename: pool/", "Filename: pool/../"),
            ("Filename: pool/", "Filename: --option/"),
            ("Filename: pool/", "Filename: a b/"),
            ("Filename: pool/", "Filename: http:\\\\x"),
            ("Version: 2.0-1+b1", "Version: -o=Dir"),
            ("Version: 2.0-1+b1", "Version: 1;reboot"),
            ("Architecture: amd64", "Architecture: ../x"),
            ("Size: 728", "Size: 99999999999999"),
            ("Size: 728", "Size: 0"),
            ("SHA256: 1ba9", "SHA256: xyz9"),
            ("Source: toolsrc (2.0-1)", "Source: -x"),
        ] {
            let text = ONE.replacen(right, wrong, 1);
            assert_ne!(text, ONE);
            let error = all(&text).unwrap_err().to_string();
            assert!(error.contains("the entry of libtool0 is not in order"), "{wrong}: {error}");
            assert_eq!(read(text.as_bytes(), &|name| name == "other").unwrap(), []);
        }
        let endless = format!("Package: x{}", "y".repeat(2 << 20));
        assert!(all(&endless).unwrap_err().to_string().contains("more than a MiB"));
    }

    #[test]
    fn an_address_is_quoted_once() {
        assert_eq!(
            address("http://h/debian/", "pool/a_1%3a2.0~x+y.deb"),
            "http://h/debian/pool/a_1%253a2.0~x+y.deb"
        );
        assert_eq!(below("./pool/x.deb").unwrap(), "pool/x.deb");
    }
}
