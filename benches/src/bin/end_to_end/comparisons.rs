//! What is compared with what, and what was aimed at.

use vecload_benches::figures::Quartiles;

use crate::contenders::{
    ARROW, Contender, DEFAULTS, Done, ONE_WORKER, PAGES, SDK, SDK_NUMPY, SEND, SEND_TLS, SOCKET,
    STRAIGHTFORWARD, TWO_WORKERS, VECLOAD, VECLOAD_TLS,
};

/// A figure of a run.
#[derive(Clone, Copy)]
pub(crate) enum Figure {
    /// CPU seconds per million records.
    Cpu,
    /// Seconds per million records.
    Wall,
    /// CPU seconds of the server per million records.
    Server,
    /// The most memory that the process held, in MB.
    Peak,
}

#[derive(Clone, Copy)]
enum Goal {
    None,
    AtMost(f64),
    AtLeast(f64),
}

/// A comparison on a form of the corpus; without anything below it, a figure as it is.
struct Rule<'a> {
    form: &'a str,
    above: &'a str,
    below: Option<&'a str>,
    figure: Figure,
    goal: Goal,
}

const fn cpu(
    form: &'static str,
    above: &'static str,
    below: &'static str,
    goal: Goal,
) -> Rule<'static> {
    Rule {
        form,
        above,
        below: Some(below),
        figure: Figure::Cpu,
        goal,
    }
}

const fn peak(form: &'static str) -> Rule<'static> {
    Rule {
        form,
        above: VECLOAD,
        below: None,
        figure: Figure::Peak,
        goal: Goal::AtMost(80.0),
    }
}

/// The goals are those that were set before anything was measured here; where one is passed it is
/// raised.
const RULES: [Rule<'static>; 28] = {
    use Goal::{AtLeast, AtMost, None};
    [
        cpu("zstd", VECLOAD, ARROW, AtMost(0.75)),
        cpu("none", VECLOAD, ARROW, AtMost(0.60)),
        cpu("snappy", VECLOAD, ARROW, None),
        cpu("zstd", VECLOAD, PAGES, None),
        cpu("none", VECLOAD, PAGES, None),
        cpu("snappy", VECLOAD, PAGES, None),
        cpu("zstd", SDK, VECLOAD, AtLeast(20.0)),
        cpu("none", SDK, VECLOAD, AtLeast(45.0)),
        cpu("snappy", SDK, VECLOAD, None),
        cpu("jsonl", SDK, VECLOAD, AtLeast(9.0)),
        cpu("zstd", SDK_NUMPY, VECLOAD, None),
        cpu("none", SDK_NUMPY, VECLOAD, None),
        cpu("none", STRAIGHTFORWARD, VECLOAD, AtLeast(3.8)),
        cpu("snappy", STRAIGHTFORWARD, VECLOAD, AtLeast(3.3)),
        cpu("zstd", STRAIGHTFORWARD, VECLOAD, AtLeast(2.7)),
        cpu("jsonl", STRAIGHTFORWARD, VECLOAD, AtLeast(3.0)),
        cpu("zstd", DEFAULTS, VECLOAD, AtMost(1.1)),
        cpu("none", DEFAULTS, VECLOAD, AtMost(1.1)),
        cpu("jsonl", DEFAULTS, VECLOAD, AtMost(1.3)),
        cpu("none", SEND, SOCKET, AtMost(1.0)),
        cpu("none", SEND_TLS, SOCKET, AtMost(1.5)),
        cpu("none", VECLOAD, SEND, None),
        cpu("none", VECLOAD_TLS, VECLOAD, None),
        Rule {
            form: "zstd",
            above: ONE_WORKER,
            below: Some(TWO_WORKERS),
            figure: Figure::Wall,
            goal: AtLeast(1.5),
        },
        peak("zstd"),
        peak("none"),
        Rule {
            above: VECLOAD_TLS,
            ..peak("none")
        },
        peak("jsonl"),
    ]
};

/// The rows of a form's comparisons, as Markdown.
pub(crate) fn comparisons(form: &str, contenders: &[Contender], runs: &[Vec<Done>]) -> Vec<String> {
    let figures = |name: &str, figure: Figure| -> Option<Vec<f64>> {
        let at = contenders.iter().position(|one| one.name == name)?;
        Some(runs[at].iter().map(|run| figure.of(run)).collect())
    };
    let row = |rule: &Rule<'_>| -> Option<String> {
        let above = figures(rule.above, rule.figure)?;
        let (what, quartiles) = match rule.below {
            None => (rule.above.to_owned(), Quartiles::of(&above)),
            Some(below) => {
                let ratios = Quartiles::of_ratios(&above, &figures(below, rule.figure)?);
                (format!("{} / {below}", rule.above), ratios)
            }
        };
        let (goal, met) = rule.goal.judge(quartiles.median);
        let unit = rule.figure.name();
        Some(format!(
            "| {form} | {what}, {unit} | {quartiles} | {goal} | {met} |"
        ))
    };
    let guests = contenders.iter().filter(|contender| contender.is_guest);
    let guests = guests.map(|guest| Rule {
        form,
        above: &guest.name,
        below: Some(VECLOAD),
        figure: Figure::Cpu,
        goal: Goal::None,
    });
    let rules = RULES.into_iter().filter(|rule| rule.form == form);
    rules.chain(guests).filter_map(|rule| row(&rule)).collect()
}

// === impl Figure ===

impl Figure {
    pub(crate) fn of(self, done: &Done) -> f64 {
        let run = &done.run;
        let each = 1e6 / run.account.records as f64;
        match self {
            Self::Cpu => run.cpu_seconds * each,
            Self::Wall => run.wall_seconds * each,
            Self::Server => done.server_cpu_seconds * each,
            Self::Peak => run
                .account
                .peak_rss_bytes
                .map_or(f64::NAN, |bytes| bytes as f64 / 1e6),
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Cpu => "CPU",
            Self::Wall => "time",
            Self::Server => "CPU of the server",
            Self::Peak => "peak MB",
        }
    }
}

// === impl Goal ===

impl Goal {
    /// The goal in words, and whether the figure reaches it.
    fn judge(self, figure: f64) -> (String, &'static str) {
        let (words, reached) = match self {
            Self::None => return (String::new(), ""),
            Self::AtMost(most) => (format!("{most} or less"), figure <= most),
            Self::AtLeast(least) => (format!("{least} or more"), figure >= least),
        };
        (words, if reached { "met" } else { "missed" })
    }
}
