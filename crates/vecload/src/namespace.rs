//! Namespaces by name, each one object for the whole run.
//!
//! `""` and `__default__` are the same namespace (INV-8): it is shown as `__default__` and sent as
//! `""`, which every API version takes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The default namespace as people see it.
pub(crate) const DEFAULT_NAMESPACE: &str = "__default__";

/// One namespace of a run.
#[derive(Debug)]
pub(crate) struct Namespace {
    /// Its number in the run, from 0.
    pub(crate) index: usize,
    /// Its name on the wire: empty for the default namespace.
    pub(crate) wire: Box<str>,
}

/// All namespaces that a run has seen.
#[derive(Debug, Default)]
pub(crate) struct Namespaces {
    by_wire_name: Mutex<HashMap<Box<str>, Arc<Namespace>>>,
}

// === impl Namespace ===

impl Namespace {
    /// The name in reports and messages.
    pub(crate) fn name(&self) -> &str {
        if self.wire.is_empty() {
            DEFAULT_NAMESPACE
        } else {
            &self.wire
        }
    }
}

// === impl Namespaces ===

impl Namespaces {
    /// The namespace of that name.
    pub(crate) fn get(&self, name: &str) -> Arc<Namespace> {
        let wire = wire_name(name);
        let mut all = self
            .by_wire_name
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(namespace) = all.get(wire) {
            return Arc::clone(namespace);
        }
        let namespace = Arc::new(Namespace {
            index: all.len(),
            wire: wire.into(),
        });
        all.insert(wire.into(), Arc::clone(&namespace));
        namespace
    }
}

/// The name on the wire.
pub(crate) fn wire_name(name: &str) -> &str {
    if name == DEFAULT_NAMESPACE { "" } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Scenario: the default namespace under both its names, and another one.
    /// Guarantees: the two names are one namespace; numbers are given in order.
    #[test]
    fn the_default_namespace_is_one() {
        let all = Namespaces::default();
        let default = all.get("");
        assert!(Arc::ptr_eq(&default, &all.get("__default__")));
        assert_eq!(default.name(), "__default__");
        let other = all.get("a");
        assert_eq!((default.index, other.index, other.name()), (0, 1, "a"));
    }
}
