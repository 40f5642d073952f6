//! The index: what each operation does, by rules and store, for whatever transport asks.
//!
//! Operations take and give messages of the contract and answer a [`Refusal`] with the service's
//! code and words. They are synchronous, since they check and read (the transport calls them off
//! the async threads); a write is first prepared here, then handed to the store's one writer.
//! Reads stand in `read`.

mod namespaces;
mod read;

use std::sync::Arc;

use vecload_proto::{DeleteRequest, UpdateRequest, Vector};

use crate::audit::Ledger;
use crate::conditions::Enforced;
use crate::faults::Dice;
use crate::filter::Filter;
use crate::rules::{self, Refusal};
use crate::store::{Change, OpenError, Patch, Prepared, Shape, Store, Target};
use crate::{Options, search};

/// One index and all that serves it.
pub(crate) struct Index {
    pub(crate) store: Store,
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) dice: Dice,
    pub(crate) conditions: Option<Arc<Enforced>>,
    pub(crate) name: String,
    pub(crate) discard: bool,
    pub(crate) api_key: Option<String>,
}

impl Index {
    pub(crate) fn open(options: Options, shape: Option<Shape>) -> Result<Self, OpenError> {
        options
            .faults
            .check()
            .map_err(|error| OpenError::Options(format!("faults: {error}")))?;
        if let Some(conditions) = &options.conditions {
            conditions
                .check()
                .map_err(|error| OpenError::Options(format!("conditions: {error}")))?;
        }
        if options.discard && options.data_dir.is_some() {
            return Err(OpenError::Options(
                "discard keeps nothing, so it cannot have a data directory; leave one of them out"
                    .to_owned(),
            ));
        }
        if options.discard && !options.indexing_delay.is_zero() {
            return Err(OpenError::Options(
                "discard keeps nothing, so nothing can be indexed later; leave one of them out"
                    .to_owned(),
            ));
        }
        if let Some(Shape::Dense(dimension)) = shape
            && !(1..=rules::MAX_DIMENSION).contains(&dimension)
        {
            return Err(OpenError::Options(format!(
                "dimension is {dimension}; give 1 to {}",
                rules::MAX_DIMENSION
            )));
        }
        let ledger = Arc::new(Ledger::new(options.audit));
        let store = Store::open(
            options.data_dir.as_deref(),
            shape,
            options.metric,
            options.indexing_delay,
            ledger.clone(),
        )?;
        Ok(Self {
            store,
            ledger,
            conditions: options
                .conditions
                .map(|conditions| Arc::new(Enforced::new(conditions, options.faults.seed))),
            dice: Dice::new(options.faults),
            name: options.name,
            discard: options.discard,
            api_key: options.api_key,
        })
    }

    fn metric(&self) -> search::Metric {
        self.store.metric()
    }

    /// Checks the records of an upsert and brings them into the form of the store.
    pub(crate) fn prepare_upsert(&self, vectors: Vec<Vector>) -> Result<Prepared, Refusal> {
        rules::check_record_count(vectors.len())?;
        let shape = match self.store.shape() {
            Some(shape) => shape,
            None => rules::shape_of(&vectors[0])?,
        };
        for vector in &vectors {
            rules::check_vector(vector, shape, self.metric())?;
            if self.dice.refuses_id(&vector.id) {
                return Err(Refusal::invalid(
                    "Request failed. One of the vectors is not valid for this index",
                ));
            }
        }
        Ok(Prepared::new(shape, vectors))
    }

    /// Checks a delete. Exactly one of ids, filter and everything.
    pub(crate) fn prepare_delete(&self, request: DeleteRequest) -> Result<Change, Refusal> {
        rules::check_namespace(&request.namespace)?;
        let by = [
            !request.ids.is_empty(),
            request.filter.is_some(),
            request.delete_all,
        ];
        let target = match by {
            [true, false, false] => {
                rules::check_ids(&request.ids)?;
                Target::Ids(request.ids)
            }
            [false, true, false] => match Filter::parse(request.filter.as_ref())? {
                Some(filter) => Target::Matching(filter),
                None => {
                    return Err(Refusal::invalid(
                        "Delete with empty metadata filter is not allowed",
                    ));
                }
            },
            [false, false, true] => Target::All,
            // Own words.
            _ => {
                return Err(Refusal::invalid(
                    "Exactly one of ids, filter and delete_all must be given to delete",
                ));
            }
        };
        Ok(Change::Delete(target))
    }

    /// Checks an update, of one record or of all that match a filter.
    pub(crate) fn prepare_update(&self, request: UpdateRequest) -> Result<Change, Refusal> {
        rules::check_namespace(&request.namespace)?;
        if !request.values.is_empty() {
            match self.store.shape() {
                Some(Shape::Dense(dimension)) => {
                    rules::check_dimension(request.values.len(), dimension)?;
                }
                Some(Shape::Sparse) => {
                    return Err(Refusal::invalid(
                        "Index configuration does not support dense values",
                    ));
                }
                None => {}
            }
        }
        let target = match (request.id.is_empty(), &request.filter) {
            (false, None) => {
                rules::check_id(&request.id)?;
                Target::Ids(vec![request.id])
            }
            (true, Some(filter)) => {
                let Some(filter) = Filter::parse(Some(filter))? else {
                    return Err(Refusal::invalid(
                        "Update with empty metadata filter is not allowed",
                    ));
                };
                if !request.values.is_empty() || request.sparse_values.is_some() {
                    // Own words.
                    return Err(Refusal::invalid(
                        "Update with a metadata filter can change metadata only",
                    ));
                }
                Target::Matching(filter)
            }
            // Own words.
            _ => {
                return Err(Refusal::invalid(
                    "Exactly one of id and filter must be given to update",
                ));
            }
        };
        let patch = Patch {
            values: Some(request.values).filter(|values| !values.is_empty()),
            sparse_values: request.sparse_values,
            set_metadata: request.set_metadata.unwrap_or_default(),
            metric: self.metric(),
            dry_run: request.dry_run.unwrap_or(false),
        };
        Ok(Change::Update(target, patch))
    }
}
