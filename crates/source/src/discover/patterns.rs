//! Patterns of names: which files of directories are wanted, and which paths a glob stands for.

use std::{
    fs, io,
    path::{Component, Path, PathBuf},
};

use globset::{GlobBuilder, GlobMatcher};

/// Which files of directories and globs are wanted.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Debug)]
struct Pattern {
    matcher: GlobMatcher,
    /// It names directories too, so it is put to paths and not to names.
    has_path: bool,
}

// === impl Wanted ===

impl Wanted {
    pub(super) fn new(include: &[String], exclude: &[String]) -> Result<Self, String> {
        let patterns = |globs: &[String]| {
            let patterns = globs.iter().map(|glob| Pattern::new(glob));
            patterns.collect::<Result<Vec<_>, _>>()
        };
        Ok(Self {
            include: patterns(include)?,
            exclude: patterns(exclude)?,
        })
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        let any = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(path));
        (self.include.is_empty() || any(&self.include)) && !any(&self.exclude)
    }
}

// === impl Pattern ===

impl Pattern {
    fn new(glob: &str) -> Result<Self, String> {
        let has_path = glob.contains('/');
        let anywhere = has_path && !glob.starts_with(['/', '*']);
        let glob = if anywhere {
            format!("**/{glob}")
        } else {
            glob.to_owned()
        };
        Ok(Self {
            matcher: matcher(&glob)?,
            has_path,
        })
    }

    fn matches(&self, path: &Path) -> bool {
        match (self.has_path, path.file_name()) {
            (false, Some(name)) => self.matcher.is_match(name),
            _ => self.matcher.is_match(path),
        }
    }
}

pub(super) fn matcher(glob: &str) -> Result<GlobMatcher, String> {
    let glob = GlobBuilder::new(glob).literal_separator(true).build();
    glob.map(|glob| glob.compile_matcher())
        .map_err(|error| format!("it is no pattern: {}", error.kind()))
}

/// Whether an argument can be a glob.
pub(super) fn is_glob(argument: &str) -> bool {
    argument.contains(['*', '?', '[', '{'])
}

/// The paths that a glob stands for, sorted level by level; hidden ones only where it says so.
pub(super) fn expand(glob: &str) -> Result<Vec<PathBuf>, String> {
    let matcher = matcher(glob.strip_prefix("./").unwrap_or(glob))?;
    let (mut start, mut depth) = (PathBuf::new(), 0_usize);
    for part in Path::new(glob).components() {
        if depth == 0 && !is_glob(&part.as_os_str().to_string_lossy()) {
            if part != Component::CurDir {
                start.push(part);
            }
        } else {
            depth += 1;
        }
    }
    if glob.contains("**") {
        // No file system is deeper; links that lead back end here.
        depth = 64;
    }
    let mut found = Vec::new();
    walk(&start, depth, &matcher, &mut found)
        .map_err(|error| format!("cannot list it: {error}"))?;
    Ok(found)
}

fn walk(
    directory: &Path,
    depth: usize,
    matcher: &GlobMatcher,
    found: &mut Vec<PathBuf>,
) -> io::Result<()> {
    let here = Path::new(".");
    let listed = if directory.as_os_str().is_empty() {
        here
    } else {
        directory
    };
    if !listed.is_dir() {
        return Ok(());
    }
    let mut names = fs::read_dir(listed)?
        .map(|entry| Ok(entry?.file_name()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort_unstable();
    for name in names {
        if super::is_hidden(&name.to_string_lossy()) {
            continue;
        }
        let path = directory.join(&name);
        if matcher.is_match(&path) {
            found.push(path);
        } else if depth > 1 && path.is_dir() {
            walk(&path, depth - 1, matcher, found)?;
        }
    }
    Ok(())
}
