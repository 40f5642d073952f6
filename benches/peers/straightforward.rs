//! A bulk loader as one writes it first: the arrow reader or serde_json, prost structs, tonic's client,
//! batches of 200, 16 of them in flight. It is what vecload is compared with, so it stays plain.
//!
//! ```text
//! straightforward URL FILE RECORDS
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]

use std::fs::File;
use std::io::{BufRead as _, BufReader};
use std::process::ExitCode;
use std::sync::Arc;

use arrow_array::cast::AsArray as _;
use arrow_array::types::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use prost_types::value::Kind;
use prost_types::{ListValue, Struct, Value};
use serde_json::{Map, Value as Json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tonic::transport::Channel;
use vecload_benches::Failure;
use vecload_benches::client::Account;
use vecload_proto::vector_service_client::VectorServiceClient;
use vecload_proto::{UpsertRequest, Vector};

const BATCH: usize = 200;
const IN_FLIGHT: usize = 16;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [url, file, records] = arguments.as_slice() else {
        eprintln!("usage: straightforward URL FILE RECORDS");
        return ExitCode::FAILURE;
    };
    match load(url, file, records).await {
        Ok(records) => {
            let account = Account {
                records,
                ..Account::default()
            };
            println!("{}", serde_json::json!(account));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn load(url: &str, file: &str, records: &str) -> Result<u64, Failure> {
    let records: usize = records.parse()?;
    let channel = Channel::from_shared(url.to_owned())?.connect().await?;
    let client = VectorServiceClient::new(channel);
    let batches: Box<dyn Iterator<Item = Result<Vec<Vector>, Failure>>> =
        if file.ends_with(".jsonl") {
            Box::new(of_jsonl(file)?)
        } else {
            Box::new(of_parquet(file)?)
        };
    let permits = Arc::new(Semaphore::new(IN_FLIGHT));
    let mut requests = JoinSet::new();
    for batch in batches.take(records.div_ceil(BATCH)) {
        let vectors = batch?;
        let permit = Arc::clone(&permits).acquire_owned().await?;
        let client = client.clone();
        requests.spawn(async move {
            let _permit = permit;
            upsert(client, vectors).await
        });
    }
    let mut acknowledged = 0;
    while let Some(count) = requests.join_next().await {
        acknowledged += u64::from(count??);
    }
    Ok(acknowledged)
}

async fn upsert(
    mut client: VectorServiceClient<Channel>,
    vectors: Vec<Vector>,
) -> Result<u32, tonic::Status> {
    let request = UpsertRequest {
        vectors,
        namespace: String::new(),
    };
    Ok(client.upsert(request).await?.into_inner().upserted_count)
}

fn of_parquet(file: &str) -> Result<impl Iterator<Item = Result<Vec<Vector>, Failure>>, Failure> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(File::open(file)?)?;
    let batches = reader.with_batch_size(BATCH).build()?;
    Ok(batches.map(|batch| {
        let batch = batch?;
        let column = |name: &str| batch.column_by_name(name).ok_or("a column is missing");
        let ids = column("id")?.as_string::<i32>();
        let lists = column("values")?.as_list::<i32>();
        let metadata = column("metadata")?.as_string::<i32>();
        let mut vectors = Vec::with_capacity(batch.num_rows());
        for row in 0..batch.num_rows() {
            let values = lists.value(row);
            vectors.push(Vector {
                id: ids.value(row).to_owned(),
                values: values.as_primitive::<Float32Type>().values().to_vec(),
                metadata: Some(structure(serde_json::from_str(metadata.value(row))?)),
                sparse_values: None,
            });
        }
        Ok(vectors)
    }))
}

#[derive(serde::Deserialize)]
struct Record {
    id: String,
    values: Vec<f32>,
    metadata: Map<String, Json>,
}

fn of_jsonl(file: &str) -> Result<impl Iterator<Item = Result<Vec<Vector>, Failure>>, Failure> {
    let mut lines = BufReader::with_capacity(1 << 20, File::open(file)?).lines();
    Ok(std::iter::from_fn(move || {
        let batch = lines.by_ref().take(BATCH).map(|line| {
            let record: Record = serde_json::from_str(&line?)?;
            Ok(Vector {
                id: record.id,
                values: record.values,
                metadata: Some(structure(record.metadata)),
                sparse_values: None,
            })
        });
        let batch: Result<Vec<Vector>, Failure> = batch.collect();
        match batch {
            Ok(vectors) if vectors.is_empty() => None,
            batch => Some(batch),
        }
    }))
}

fn structure(fields: Map<String, Json>) -> Struct {
    let fields = fields.into_iter();
    Struct {
        fields: fields.map(|(key, value)| (key, of_json(value))).collect(),
    }
}

fn of_json(value: Json) -> Value {
    let kind = match value {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(value),
        Json::Number(value) => Kind::NumberValue(value.as_f64().unwrap_or_default()),
        Json::String(value) => Kind::StringValue(value),
        Json::Array(values) => Kind::ListValue(ListValue {
            values: values.into_iter().map(of_json).collect(),
        }),
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    Value { kind: Some(kind) }
}
