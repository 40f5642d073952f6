//! Schemas of Pinecone's own tools, and names and forms of others.

use arrow_array::cast::AsArray as _;
use arrow_array::{Array as _, Int64Array, ListArray};

use super::*;

/// Scenario: Parquet and JSON in the schemas and layouts of Pinecone's import, pinecone-datasets,
/// spark-pinecone, the official command line, the import skill and the REST API.
/// Guarantees: without a flag, but for directories that are namespaces, every record arrives bit for bit.
#[tokio::test(flavor = "multi_thread")]
async fn schemas_of_pinecone_itself() {
    let with = |more: Vec<(&'static str, ArrayRef)>| parquet([columns(), more].concat());
    Case::new("import", "0.parquet", parquet(columns()), both())
        .play()
        .await;

    let layout = Case {
        files: vec![
            ("films/0.parquet", parquet(columns())),
            ("films/1.parquet", plain("c")),
            ("__default__/0.parquet", plain("c")),
        ],
        ..Case::new("import layout", "", [], Vec::new())
    };
    let expected = [
        in_namespace("films", [both(), vec![record("c", &VALUES)]].concat()),
        vec![record("c", &VALUES)],
    ];
    let layout = Case {
        expected: expected.concat(),
        ..layout
    };
    layout
        .with(|settings| settings.namespace_from_dir = true)
        .play()
        .await;

    let queries = parquet(vec![
        ("vector", vectors()),
        ("top_k", Arc::new(Int64Array::from(vec![5, 5]))),
    ]);
    let datasets = Case {
        files: vec![
            (
                "metadata.json",
                b"{\"name\":\"x\",\"documents\":2}".to_vec(),
            ),
            (
                "documents/0.parquet",
                with(vec![("blob", sparse_vectors())]),
            ),
            ("queries/0.parquet", queries),
        ],
        ..Case::new("pinecone-datasets", "", [], both())
    };
    datasets.play().await;

    let names: ArrayRef = Arc::new(StringArray::from(vec!["n", "n"]));
    let spark = with(vec![("namespace", names)]);
    Case::new(
        "spark-pinecone",
        "part-0.parquet",
        spark.clone(),
        in_namespace("n", both()),
    )
    .play()
    .await;
    let one_for_all = Case::new(
        "a flag wins",
        "part-0.parquet",
        spark,
        in_namespace("m", both()),
    );
    one_for_all
        .with(|settings| settings.namespace = "m".to_owned())
        .play()
        .await;

    let [one, other] = lines(&[]);
    let rest = lines(&[("sparse_values", "sparseValues")]).join(",");
    for (label, name, text, namespace) in [
        ("JSONL", "a.jsonl", format!("{one}\n\n{other}"), ""),
        (
            "CRLF and a byte order mark",
            "a.jsonl",
            format!("\u{feff}{one}\r\n{other}\r\n"),
            "",
        ),
        ("list", "a.json", format!("[{one},\n{other}]"), ""),
        (
            "object",
            "a.json",
            format!("{{\"vectors\":[{one},{other}]}}"),
            "",
        ),
        (
            "REST",
            "a.json",
            format!("{{\"vectors\":[{rest}],\"namespace\":\"n\"}}"),
            "n",
        ),
        (
            "concatenated",
            "a.json",
            format!("{one}{other}").replace(",\"", ",\n  \""),
            "",
        ),
    ] {
        // In a directory a `.json` may be about the data.
        let case = Case::new(label, name, text, in_namespace(namespace, both()));
        Case {
            inputs: &[name],
            ..case
        }
        .play()
        .await;
    }
}

/// Scenario: the parts of a record under every name that others use, as JSONL and as Parquet; sparse
/// vectors in each of their forms; metadata as text and flat.
/// Guarantees: without a flag every record arrives bit for bit.
#[tokio::test(flavor = "multi_thread")]
async fn names_and_forms_of_others() {
    for (part, names) in [
        ("id", &["_id", "doc_id", "vector_id", "uuid", "pk"][..]),
        (
            "values",
            &[
                "vector",
                "embedding",
                "embeddings",
                "dense_values",
                "dense_embedding",
                "dense_vector",
            ],
        ),
        (
            "sparse_values",
            &[
                "sparseValues",
                "sparse_vector",
                "sparse_embedding",
                "sparse",
            ],
        ),
        ("metadata", &["payload", "properties"]),
    ] {
        for name in names {
            Case::new(name, "a.jsonl", jsonl(&[(part, name)]), both())
                .play()
                .await;
            let columns = columns().into_iter();
            let columns =
                columns.map(|(column, array)| (if column == part { *name } else { column }, array));
            Case::new(name, "a.parquet", parquet(columns.collect()), both())
                .play()
                .await;
        }
    }

    let [one, other] = lines(&[]);
    let object = "\"sparse_values\":{\"indices\":[7,4294967295],\"values\":[0.5,-1.5]}";
    let forms = [
        (
            "weights",
            "\"sparse_values\":{\"7\":0.5,\"4294967295\":-1.5}".to_owned(),
        ),
        (
            "split",
            "\"sparse_indices\":[7,4294967295],\"sparse_values\":[0.5,-1.5]".to_owned(),
        ),
    ];
    for (label, form) in forms {
        let text = format!("{}\n{other}\n", one.replace(object, &form));
        Case::new(label, "a.jsonl", text, both()).play().await;
    }
    let quoted = one.replace(METADATA, &json!(METADATA).to_string());
    Case::new(
        "metadata as text",
        "a.jsonl",
        format!("{quoted}\n{other}\n"),
        both(),
    )
    .play()
    .await;
    let flat = METADATA.trim_start_matches('{').trim_end_matches('}');
    let flat = one.replace(&format!("\"metadata\":{METADATA}"), flat);
    Case::new("flat", "a.jsonl", format!("{flat}\n{other}\n"), both())
        .play()
        .await;

    let structs = sparse_vectors();
    let structs = structs.as_struct();
    let split = |name: &str| {
        let column = structs.column_by_name(name).expect("a part");
        let rows = column.as_list::<i32>();
        // A part of a struct that is null is null.
        let nulls = structs.nulls().cloned();
        let (item, offsets, values, _) = rows.clone().into_parts();
        Arc::new(ListArray::new(item, offsets, values, nulls)) as ArrayRef
    };
    let mut columns = columns();
    columns[2].1 = split("values");
    columns.push(("sparse_indices", split("indices")));
    Case::new("split columns", "a.parquet", parquet(columns), both())
        .play()
        .await;
}
