//! The report directory: percentile tables, an interval log, JSON and a plot.

use crate::plot::percentile_plot;
use crate::summary::Summary;
use anyhow::{Context as _, Result};
use ringbolt::metrics::{
    IntervalLog, Latency, MILLISECONDS, Report, TICKS_PER_HALF, write_percentiles,
};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A report directory, and the interval log that is written while the run goes on.
pub(crate) struct Directory {
    path: PathBuf,
    log: IntervalLog<BufWriter<File>>,
    started: Instant,
    last: Interval,
}

/// Where the last interval ended.
struct Interval {
    end: Duration,
    end_to_end: Latency,
}

impl Directory {
    /// Makes the directory, if there is none, and begins the log.
    ///
    /// # Errors
    /// The directory or the log in it cannot be made.
    pub(crate) fn begin(path: &Path) -> Result<Self> {
        let context = || format!("{}: cannot make the report directory", path.display());
        fs::create_dir_all(path).with_context(context)?;
        let file = File::create(path.join("latency.hlog")).with_context(context)?;
        let log = IntervalLog::new(BufWriter::new(file), SystemTime::now())?;
        Ok(Self {
            path: path.to_owned(),
            log,
            started: Instant::now(),
            last: Interval {
                end: Duration::ZERO,
                end_to_end: Latency::new(),
            },
        })
    }

    /// Writes what was measured since the last interval, end to end.
    ///
    /// # Errors
    /// The log cannot be written.
    pub(crate) fn interval(&mut self, report: &Report) -> Result<()> {
        let end = self.started.elapsed();
        let latency = report.end_to_end.since(&self.last.end_to_end);
        let length = end.saturating_sub(self.last.end);
        self.log.write(None, self.last.end, length, &latency)?;
        self.last = Interval {
            end,
            end_to_end: report.end_to_end.clone(),
        };
        Ok(())
    }

    /// Writes the last interval and everything else.
    ///
    /// # Errors
    /// A file cannot be written.
    pub(crate) fn finish(mut self, summary: &Summary, report: &Report) -> Result<()> {
        self.interval(report)?;
        self.log.flush()?;
        let curves = [
            ("end_to_end", "end to end", &report.end_to_end),
            ("queue_wait", "queue wait", &report.queue_wait),
            ("handler", "handler", &report.handler),
        ];
        for (file, _, latency) in curves {
            self.write(&format!("{file}.hgrm"), |out| {
                Ok(write_percentiles(
                    out,
                    latency,
                    MILLISECONDS,
                    TICKS_PER_HALF,
                )?)
            })?;
        }
        self.write("latency.svg", |out| {
            let curves = curves.map(|(_, name, latency)| (name, latency));
            Ok(out.write_all(percentile_plot("latency by percentile", &curves).as_bytes())?)
        })?;
        self.write("report.json", |out| {
            let engine: Value = serde_json::from_str(&report.to_json())?;
            serde_json::to_writer_pretty(&mut *out, &json!({"result": summary, "engine": engine}))?;
            Ok(writeln!(out)?)
        })
    }

    fn write(
        &self,
        name: &str,
        content: impl FnOnce(&mut BufWriter<File>) -> Result<()>,
    ) -> Result<()> {
        let path = self.path.join(name);
        let written = || -> Result<()> {
            let mut out = BufWriter::new(File::create(&path)?);
            content(&mut out)?;
            Ok(out.flush()?)
        };
        written().with_context(|| format!("{}: cannot write the report", path.display()))
    }
}
