//! The rules of the house that a compiler does not keep: who may depend on whom, which names and sizes
//! files have, what a test says about itself. They stand in the binary's crate since it is above all
//! others. Licences and sources of dependencies are cargo-deny's (`deny.toml`).

#![expect(clippy::expect_used, reason = "in a test a panic is the report")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package, PackageId};

/// Who may depend on whom in `crates/`, in code that ships (ARCHITECTURE.md). A crate that is not here has no place
/// yet. What stands elsewhere (`benches/`) measures the house from outside: it may use all, and none may use it.
const EDGES: &[(&str, &[&str])] = &[
    ("vecload-record", &[]),
    ("vecload-proto", &[]),
    ("vecload-source", &["vecload-record"]),
    ("vecload-pinecone", &["vecload-record", "vecload-proto"]),
    // It knows the contract alone, so that it cannot share the client's mistakes.
    ("vecload-local-index", &["vecload-proto"]),
    (
        "vecload",
        &["vecload-source", "vecload-pinecone", "vecload-record"],
    ),
    // The corpora are what `vecload bench` loads where it is given none.
    (
        "vecload-cli",
        &["vecload", "vecload-local-index", "vecload-corpus"],
    ),
    // Corpora by number, for tests and benches.
    ("vecload-corpus", &[]),
];

/// Every crate's tests may load seeded corpora, and run against the real server.
const FOR_TESTS: [&str; 2] = ["vecload-local-index", "vecload-corpus"];

/// Names that say nothing, and so collect everything.
const DRAWERS: [&str; 6] = ["common", "util", "utils", "core", "types", "helpers"];

/// Beyond it nobody reads a file from start to end.
const MAX_LINES: usize = 600;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(root().join("Cargo.toml"))
        .other_options(["--locked".to_owned()])
        .exec()
        .expect("cargo metadata")
}

/// The dependencies of a crate on crates of the house, by name, of the kinds that `of` holds for.
fn house_edges<'a>(
    package: &'a Package,
    of: impl Fn(DependencyKind) -> bool + 'a,
) -> impl Iterator<Item = &'a str> {
    package
        .dependencies
        .iter()
        .filter(move |dependency| of(dependency.kind) && dependency.path.is_some())
        .map(|dependency| dependency.name.as_str())
}

/// Every file below a folder, sorted.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that can be read") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

/// The Rust files of all members but generated ones, as paths below the workspace with their text.
fn rust_files() -> Vec<(PathBuf, String)> {
    let metadata = metadata();
    let root = metadata.workspace_root.as_std_path();
    let files: Vec<_> = metadata
        .workspace_packages()
        .iter()
        .filter_map(|package| package.manifest_path.parent())
        .flat_map(|folder| files_below(folder.as_std_path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .map(|path| path.strip_prefix(root).expect("below").to_owned())
        .filter(|path| !path.iter().any(|part| part == "generated"))
        .map(|path| {
            let text = fs::read_to_string(root.join(&path)).expect("a text");
            (path, text)
        })
        .collect();
    let this = Path::new("crates/cli/tests/workspace.rs");
    assert!(
        files.iter().any(|(path, _)| path == this),
        "the walk misses this very file"
    );
    files
}

/// Scenario: the dependencies of every crate on its siblings, as cargo resolves them.
/// Guarantees: code that ships has no edge but those of the design, tests no others but to what is there for them.
#[test]
fn edges_between_crates() {
    let metadata = metadata();
    let allowed: BTreeMap<_, BTreeSet<_>> = EDGES
        .iter()
        .map(|(name, edges)| (*name, edges.iter().copied().collect()))
        .collect();
    let house = metadata.workspace_root.join("crates");
    let mut packages = metadata.workspace_packages();
    packages.retain(|package| package.manifest_path.starts_with(&house));
    let names: BTreeSet<_> = packages.iter().map(|p| p.name.as_str()).collect();
    assert_eq!(
        names,
        allowed.keys().copied().collect(),
        "a crate came or went; give it its place in EDGES and in ARCHITECTURE.md"
    );
    for package in packages {
        let name = package.name.as_str();
        let ships = |kind| kind != DependencyKind::Development;
        let shipped: BTreeSet<_> = house_edges(package, ships).collect();
        let tested: BTreeSet<_> = house_edges(package, move |kind| !ships(kind)).collect();
        let wrong: Vec<_> = shipped.difference(&allowed[name]).collect();
        assert!(wrong.is_empty(), "{name} must not depend on {wrong:?}");
        let wrong: Vec<_> = tested
            .difference(&allowed[name])
            .filter(|edge| !FOR_TESTS.contains(edge))
            .collect();
        assert!(
            wrong.is_empty(),
            "tests of {name} must not depend on {wrong:?}"
        );
    }
}

/// Scenario: the dependencies of the vocabulary, of the house and from outside.
/// Guarantees: there are none, so whoever reads files need not build what speaks gRPC, or the reverse.
#[test]
fn the_vocabulary_depends_on_nothing() {
    let metadata = metadata();
    let packages = metadata.workspace_packages();
    let record = packages.iter().find(|p| *p.name == "vecload-record");
    let needed: Vec<_> = record
        .expect("the vocabulary")
        .dependencies
        .iter()
        .filter(|dependency| dependency.kind != DependencyKind::Development)
        .map(|dependency| dependency.name.as_str())
        .collect();
    assert_eq!(needed, [""; 0]);
}

/// Scenario: the graph of all that ships, on every platform, against the bans of deny.toml.
/// Guarantees: no banned crate is in it, also where cargo-deny is not at hand.
#[test]
fn banned_crates_do_not_ship() {
    let deny: toml::Table = fs::read_to_string(root().join("deny.toml"))
        .expect("deny.toml")
        .parse()
        .expect("deny.toml is TOML");
    let banned: BTreeSet<_> = deny["bans"]["deny"]
        .as_array()
        .expect("a list of bans")
        .iter()
        .map(|ban| ban["crate"].as_str().expect("the name of a crate"))
        .collect();
    for name in ["openssl-sys", "native-tls", "aws-lc-sys", "arrow2"] {
        assert!(banned.contains(name), "deny.toml no longer bans {name}");
    }

    let metadata = metadata();
    let shipped = shipped(&metadata);
    // The walk has gone somewhere: all TLS is rustls on ring.
    for name in ["rustls", "ring", "parquet", "tonic"] {
        assert!(shipped.contains(name), "{name} is not in the graph");
    }
    let found: Vec<_> = shipped.intersection(&banned).collect();
    assert!(
        found.is_empty(),
        "banned by deny.toml, but in the graph: {found:?}"
    );
}

/// The names of all crates that can be reached from the workspace without a dev-dependency.
fn shipped(metadata: &Metadata) -> BTreeSet<&str> {
    let resolve = metadata.resolve.as_ref().expect("a resolved graph");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut reached = BTreeSet::new();
    let mut open: Vec<&PackageId> = metadata.workspace_members.iter().collect();
    while let Some(id) = open.pop() {
        if !reached.insert(id) {
            continue;
        }
        let ships = nodes[id].deps.iter().filter(|dependency| {
            let mut kinds = dependency.dep_kinds.iter();
            kinds.any(|kind| kind.kind != DependencyKind::Development)
        });
        open.extend(ships.map(|dependency| &dependency.pkg));
    }
    reached
        .iter()
        .map(|id| metadata[*id].name.as_str())
        .collect()
}

/// Scenario: the manifest of every crate.
/// Guarantees: it takes the lints, the version and the licence of the workspace instead of its own.
#[test]
fn crates_inherit_from_the_workspace() {
    for package in metadata().workspace_packages() {
        let manifest: toml::Table = fs::read_to_string(&package.manifest_path)
            .expect("a manifest")
            .parse()
            .expect("a manifest is TOML");
        let inherits = |table: &str, key: Option<&str>| {
            let table = manifest.get(table);
            let table = key.map_or(table, |key| table.and_then(|table| table.get(key)));
            table.and_then(|table| table.get("workspace")) == Some(&true.into())
        };
        let name = &package.name;
        assert!(
            inherits("lints", None),
            "{name}: set lints.workspace = true"
        );
        for key in ["version", "edition", "rust-version", "license", "publish"] {
            assert!(
                inherits("package", Some(key)),
                "{name}: set {key}.workspace = true"
            );
        }
    }
}

/// Scenario: what the image's build copies, builds and installs, and what of the tree it is given.
/// Guarantees: every path is there and is let through, and the package and the profile exist.
#[test]
fn the_image_is_built_from_what_there_is() {
    let read = |name: &str| fs::read_to_string(root().join(name)).expect(name);
    let (image, ignored, manifest) = (
        read("Dockerfile"),
        read(".dockerignore"),
        read("Cargo.toml"),
    );
    let given: Vec<&str> = ignored
        .lines()
        .filter_map(|line| line.strip_prefix('!'))
        .collect();
    let copied: Vec<&str> = image
        .lines()
        .filter_map(|line| line.strip_prefix("COPY "))
        .filter(|line| !line.starts_with("--from"))
        .flat_map(|line| line.split_whitespace().rev().skip(1))
        .collect();
    assert!(copied.contains(&"LICENSE-MIT"), "{copied:?}");
    for path in copied.iter().chain(&given) {
        assert!(
            root().join(path).try_exists().expect("readable"),
            "{path} is not there"
        );
        assert!(
            *path == "." || given.contains(path),
            "{path} is not let through"
        );
    }
    // Members of the workspace that are missing would fail the build.
    for package in metadata().workspace_packages() {
        let path = package
            .manifest_path
            .strip_prefix(root().canonicalize().expect("there"));
        let path = path.expect("in the workspace");
        assert!(
            given.iter().any(|given| path.starts_with(given)),
            "{path} is not let through"
        );
    }
    let words: Vec<&str> = image.split_whitespace().collect();
    let after = |flag: &str| {
        let place = words.iter().position(|word| *word == flag);
        words[place.expect(flag) + 1]
    };
    assert!(manifest.contains(&format!("[profile.{}]", after("--profile"))));
    let packages = metadata();
    let package = after("-p");
    assert!(
        packages
            .packages
            .iter()
            .any(|found| found.name.as_str() == package),
        "{package}"
    );
    assert!(image.contains(&format!("install target/{}/vecload ", after("--profile"))));
}

/// Scenario: the name of every crate, folder and Rust file.
/// Guarantees: none is a drawer such as `util`; what is in it has a name of its own.
#[test]
fn no_drawers() {
    for (path, _) in rust_files() {
        let stems = path.iter().map(|part| Path::new(part).file_stem());
        for stem in stems.flatten() {
            assert!(
                !DRAWERS.iter().any(|drawer| stem == *drawer),
                "{}: name it after what it does",
                path.display()
            );
        }
    }
}

/// Scenario: every Rust file that was written by hand.
/// Guarantees: it can be read in one sitting.
#[test]
fn files_are_short() {
    let long: Vec<_> = rust_files()
        .into_iter()
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > MAX_LINES)
        .collect();
    assert!(long.is_empty(), "over {MAX_LINES} lines: {long:?}");
}

/// Scenario: the doc comment of every test but those that stand for a process (`#[ignore]`).
/// Guarantees: it says what happens (`Scenario:`) and what is proven (`Guarantees:`).
#[test]
fn tests_say_what_they_prove() {
    let mut count = 0;
    let mut silent = Vec::new();
    for (path, text) in rust_files() {
        let lines: Vec<_> = text.lines().map(str::trim).collect();
        for (number, line) in lines.iter().enumerate() {
            if *line != "#[test]" && !line.starts_with("#[tokio::test") {
                continue;
            }
            let is_head = |line: &&&str| line.starts_with("///") || line.starts_with("#[");
            let above = lines[..number].iter().rev().take_while(is_head);
            let below = lines[number + 1..].iter().take_while(is_head);
            let head: Vec<_> = above.chain(below).collect();
            let has = |start: &str| head.iter().any(|line| line.starts_with(start));
            count += 1;
            let speaks = has("/// Scenario: ") && has("/// Guarantees: ");
            if !speaks && !has("#[ignore") {
                silent.push(format!("{}:{}", path.display(), number + 1));
            }
        }
    }
    assert!(count > 100, "only {count} tests were found");
    assert!(silent.is_empty(), "no Scenario and Guarantees: {silent:#?}");
}

/// Scenario: docs/hostile-input.md, which names a test for each hazard.
/// Guarantees: each file that it names is there, and has the tests that it names after it.
#[test]
fn tests_that_the_list_of_hazards_names() {
    let list = fs::read_to_string(root().join("docs/hostile-input.md")).expect("readable");
    let (mut file, mut tests) = (String::new(), 0);
    for shown in list.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let shown = shown.rsplit('|').nth(1).expect("a last column");
        let names = shown.split('`').skip(1).step_by(2);
        for name in names {
            if name.ends_with(".rs") {
                file = fs::read_to_string(root().join("crates").join(name)).expect(name);
            } else {
                assert!(file.contains(&format!("fn {name}(")), "no test {name}");
                tests += 1;
            }
        }
    }
    assert!(tests > 30, "{tests}");
}
