//! Any rows, written in any way.

use parquet::{
    basic::Compression,
    file::properties::{WriterProperties, WriterVersion},
};
use proptest::prelude::*;

use super::*;

/// What a row of a test says and is expected to say.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Model {
    pub(super) id: Option<String>,
    pub(super) values: Option<Vec<Option<f32>>>,
    pub(super) sparse: Option<(Vec<i64>, Vec<f32>)>,
    pub(super) metadata: Option<String>,
}

/// How a generated file is written.
#[derive(Debug, Clone)]
pub(super) struct Writing {
    pub(super) compression: Compression,
    pub(super) list: usize,
    pub(super) text: DataType,
    pub(super) group_rows: usize,
    pub(super) page_rows: usize,
    pub(super) version: WriterVersion,
    pub(super) dictionary: bool,
}

fn writing() -> impl Strategy<Value = Writing> {
    let compression = prop_oneof![
        Just(Compression::UNCOMPRESSED),
        Just(Compression::SNAPPY),
        Just(Compression::GZIP(Default::default())),
        Just(Compression::BROTLI(Default::default())),
        Just(Compression::LZ4),
        Just(Compression::LZ4_RAW),
        Just(Compression::ZSTD(Default::default())),
    ];
    let text = prop_oneof![
        Just(DataType::Utf8),
        Just(DataType::LargeUtf8),
        Just(DataType::Utf8View),
        Just(DataType::Dictionary(
            DataType::Int32.into(),
            DataType::Utf8.into()
        )),
    ];
    let version = prop_oneof![
        Just(WriterVersion::PARQUET_1_0),
        Just(WriterVersion::PARQUET_2_0)
    ];
    (
        compression,
        0_usize..4,
        text,
        1_usize..20,
        1_usize..20,
        version,
        any::<bool>(),
    )
        .prop_map(
            |(compression, list, text, group_rows, page_rows, version, dictionary)| Writing {
                compression,
                list,
                text,
                group_rows,
                page_rows,
                version,
                dictionary,
            },
        )
}

fn model() -> impl Strategy<Value = Model> {
    let float = any::<u32>().prop_map(f32::from_bits);
    let element = prop_oneof![30 => float.clone().prop_map(Some), 1 => Just(None)];
    let sparse = proptest::collection::vec((0_i64..1 << 32, float), 0..4)
        .prop_map(|pairs| pairs.into_iter().unzip());
    (
        proptest::option::weighted(0.95, "[a-zé😀]{0,20}"),
        proptest::option::weighted(0.9, proptest::collection::vec(element, 3)),
        proptest::option::weighted(0.5, sparse),
        proptest::option::weighted(0.8, "\\{\"k\":\"[a-z]{0,30}\"\\}"),
    )
        .prop_map(|(id, values, sparse, metadata)| Model {
            id,
            values,
            sparse,
            metadata,
        })
}

/// What is expected of a row.
fn expected(model: &Model) -> Result<Record, (Reason, &'static str)> {
    let Some(id) = model.id.clone() else {
        return Err((Reason::MissingId, "id"));
    };
    let values = match &model.values {
        Some(values) => {
            let values: Option<Vec<f32>> = values.iter().copied().collect();
            Some(bits(values.ok_or((Reason::Malformed, "values"))?))
        }
        None => None,
    };
    let sparse = model.sparse.clone().map(|(indices, values)| {
        let indices = indices
            .into_iter()
            .map(|index| u32::try_from(index).unwrap());
        (indices.collect(), bits(values))
    });
    Ok(Record {
        id,
        namespace: None,
        values,
        sparse,
        metadata: model.metadata.clone(),
    })
}

pub(super) fn written(rows: &[Model], writing: &Writing) -> Vec<u8> {
    let text = |of: fn(&Model) -> Option<&String>| {
        let text: ArrayRef = Arc::new(rows.iter().map(of).collect::<StringArray>());
        cast(&text, &writing.text)
    };
    let values = lists(rows.iter().map(|row| row.values.as_deref()));
    let item = Arc::new(Field::new("item", DataType::Float32, true));
    let list = match writing.list {
        0 => DataType::LargeList(item),
        1 => DataType::FixedSizeList(item, 3),
        _ => DataType::List(item),
    };
    let sparse_rows: Vec<_> = rows.iter().map(|row| row.sparse.clone()).collect();
    let properties = WriterProperties::builder()
        .set_compression(writing.compression)
        .set_max_row_group_row_count(Some(writing.group_rows))
        .set_data_page_row_count_limit(writing.page_rows)
        .set_write_batch_size(writing.page_rows)
        .set_writer_version(writing.version)
        .set_dictionary_enabled(writing.dictionary)
        .build();
    write(
        vec![
            ("metadata", text(|row| row.metadata.as_ref())),
            ("values", cast(&values, &list)),
            ("id", text(|row| row.id.as_ref())),
            ("sparse_values", sparse(&sparse_rows)),
        ],
        properties,
    )
}

proptest! {
    /// Scenario: generated rows, written with any codec, list and text type, row group and page size,
    /// page version, dictionaries on or off.
    /// Guarantees: equal rows are read, with their bits, positions and defects.
    #[test]
    fn what_is_written_is_read(
        mut rows in proptest::collection::vec(model(), 0..60),
        lengths in proptest::collection::vec(0_usize..6, 60),
        writing in writing(),
    ) {
        if writing.list != 1 {
            // Only lists of a fixed size are all alike.
            for (row, length) in rows.iter_mut().zip(lengths) {
                if let Some(values) = &mut row.values {
                    values.resize(length, Some(0.25));
                }
            }
        }
        let found = read(&written(&rows, &writing), &settings()).unwrap();
        prop_assert_eq!(found.len(), rows.len());
        for (index, (found, row)) in found.into_iter().zip(&rows).enumerate() {
            prop_assert_eq!(found.locator, index as u64);
            prop_assert_eq!(found.row, (index % writing.group_rows) as u64);
            match (found.content, expected(row)) {
                (Err((reason, field, raw)), Err(expected)) => {
                    prop_assert_eq!((reason, field.as_str()), expected);
                    let raw: serde_json::Value = serde_json::from_str(&raw).unwrap();
                    prop_assert_eq!(raw["id"].as_str(), row.id.as_deref());
                }
                (found, expected) => prop_assert_eq!(found.ok(), expected.ok()),
            }
        }
    }
}
