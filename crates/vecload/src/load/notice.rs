//! What a load has to say of its inputs before it reads them.

use std::fmt;
use std::sync::Arc;

use vecload_source::Plan;

/// Something that whoever started a load should know before records are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Notice {
    /// What the columns of some inputs were taken for; once for each kind of input.
    Mapping {
        /// A line such as `id <- pk, values <- embedding (list<float>, 384)`.
        mapping: String,
        /// One of these inputs.
        input: String,
        /// How many there are.
        inputs: usize,
    },
    /// There was no index of that name, and one is being made.
    IndexMade {
        /// Its name.
        name: String,
        /// What it takes and where it is: `dense, 384 dimensions, cosine, aws us-east-1`.
        index: String,
    },
    /// Directories that look like namespaces and were not taken for them.
    IgnoredDirectories(Vec<String>),
}

/// Who is told.
#[derive(Clone, Default)]
pub(super) struct Listener(Option<Arc<Hear>>);

type Hear = dyn Fn(&Notice) + Send + Sync;

// === impl Listener ===

impl Listener {
    pub(super) fn new(hear: impl Fn(&Notice) + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(hear)))
    }

    /// Tells it.
    pub(super) fn hear(&self, notice: &Notice) {
        if let Some(hear) = &self.0 {
            hear(notice);
        }
    }

    /// Tells how the inputs of a plan were understood.
    pub(super) fn hear_of(&self, plan: &Plan) {
        let Some(hear) = &self.0 else { return };
        for (mapping, input, inputs) in plan.mappings() {
            hear(&Notice::Mapping {
                mapping: mapping.to_string(),
                input: input.name.clone(),
                inputs,
            });
        }
        let ignored: Vec<String> = plan
            .ignored_directories()
            .into_iter()
            .map(str::to_owned)
            .collect();
        if !ignored.is_empty() {
            hear(&Notice::IgnoredDirectories(ignored));
        }
    }
}

impl fmt::Debug for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Listener").finish_non_exhaustive()
    }
}
