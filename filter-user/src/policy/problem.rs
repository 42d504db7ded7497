//! A problem at its place, and how it is shown: on one line for logs and programs, drawn for people.
//!
//! On one line (`Display`) it is `file:line:column: found X, expected Y; did you mean Z?`. Drawn
//! ([`Problem::render`]) it is the line of the file with a caret under the place.

use std::fmt;
use std::sync::Arc;

use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, MietteError, MietteSpanContents,
    Severity, SourceCode, SourceSpan, SpanContents,
};

use super::error::{Fault, Notice, Text, Wording};
use super::source::{Position, Source, Span};

/// Columns that a drawn problem may take before its sentences are wrapped.
const WIDTH: usize = 110;

/// Another place that a problem has to do with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Related {
    /// The place.
    pub span: Span,
    /// What is there.
    pub note: Text,
}

/// Something about one place of a policy's text: an error ([`Fault`]) or a warning ([`Notice`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem<K> {
    source: Arc<Source>,
    /// What it is.
    pub kind: K,
    /// Where it is.
    pub span: Span,
    /// The other place, where there is one.
    pub related: Option<Related>,
}

/// An error in a policy.
pub type PolicyError = Problem<Fault>;

/// A warning about a policy.
pub type PolicyWarning = Problem<Notice>;

/// How a problem is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Drawing {
    /// With ANSI colours. `anstream` takes them out where they do not belong.
    Colour,
    /// Text alone.
    Plain,
}

impl<K> Problem<K> {
    pub(super) fn new(source: &Arc<Source>, kind: K, span: Span, related: Option<Related>) -> Self {
        Self { source: Arc::clone(source), kind, span, related }
    }

    /// The line and column that it begins at.
    #[must_use]
    pub fn position(&self) -> Position {
        self.source.position(self.span.start)
    }

    /// What the text is called, usually a file.
    #[must_use]
    pub fn file(&self) -> &str {
        self.source.name()
    }
}

/// What faults and notices have in common.
trait Kind: fmt::Debug + fmt::Display {
    const SEVERITY: Severity;
    fn words(&self) -> Wording;
}

impl Kind for Fault {
    const SEVERITY: Severity = Severity::Error;
    fn words(&self) -> Wording {
        self.wording()
    }
}

impl Kind for Notice {
    const SEVERITY: Severity = Severity::Warning;
    fn words(&self) -> Wording {
        self.wording()
    }
}

impl<K: fmt::Display> fmt::Display for Problem<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { line, column } = self.position();
        write!(out, "{}:{line}:{column}: {}", self.source.name(), self.kind)
    }
}

impl<K: fmt::Debug + fmt::Display> std::error::Error for Problem<K> {}

macro_rules! render {
    ($($kind:ty)*) => {$(
        impl Problem<$kind> {
            /// The line with a caret under the place, what was expected, and what to write instead.
            #[must_use]
            pub fn render(&self, drawing: Drawing) -> String {
                draw(self, drawing)
            }
        }
    )*};
}

render!(Fault Notice);

/// Bytes of the longest line that is drawn.
const WIDEST_LINE: usize = 4096;

/// The drawing of one problem.
fn draw<K: Kind>(problem: &Problem<K>, drawing: Drawing) -> String {
    // A line that nobody can read drawn is told by its place alone; the drawing library counts columns in 16 bits.
    if problem.source.text().lines().any(|line| line.len() > WIDEST_LINE) {
        return format!("{problem}\n");
    }
    let mut theme = match drawing {
        Drawing::Colour => GraphicalTheme::ascii(),
        Drawing::Plain => GraphicalTheme::none(),
    };
    theme.characters.underbar = theme.characters.underline;
    let handler = GraphicalReportHandler::new_themed(theme)
        .with_width(WIDTH)
        .with_context_lines(Page::CONTEXT)
        .with_links(false);
    let mut text = String::new();
    match handler.render_report(&mut text, &Drawn { problem, page: Page(&problem.source) }) {
        Ok(()) => text,
        // Spans lie in their text, so there is always something to draw; the line alone says as much.
        Err(fmt::Error) => format!("{problem}\n"),
    }
}

/// A problem in the words of miette: the title without what the caret says.
#[derive(Debug)]
struct Drawn<'a, K> {
    problem: &'a Problem<K>,
    page: Page<'a>,
}

/// The text of a policy as miette is to show it: the lines of a place and no others. miette takes "no lines around it" to
/// mean the place alone, and asks for that to learn its column; so one line around it is none here.
#[derive(Debug)]
struct Page<'a>(&'a Source);

impl Page<'_> {
    const CONTEXT: usize = 1;
}

impl SourceCode for Page<'_> {
    fn read_span<'a>(
        &'a self,
        span: &SourceSpan,
        before: usize,
        after: usize,
    ) -> Result<Box<dyn SpanContents<'a> + 'a>, MietteError> {
        let place = Span { start: span.offset(), end: span.offset() + span.len() };
        let around = |lines: usize| lines.saturating_sub(Self::CONTEXT);
        let found = self.0.lines_around(place, around(before), around(after));
        let (mut bytes, lines) = found.ok_or(MietteError::OutOfBounds)?;
        let mut column = 0;
        if before == 0 {
            column = self.0.position(place.start).column - 1;
            bytes.start = place.start;
        }
        let text = self.0.bytes(bytes);
        let name = self.0.name().to_owned();
        let contents =
            MietteSpanContents::new_named(name, text, bytes.into(), lines.start, column, lines.len());
        Ok(Box::new(contents))
    }
}

impl<K: Kind> fmt::Display for Drawn<'_, K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.problem.kind.words().found)
    }
}

impl<K: Kind> std::error::Error for Drawn<'_, K> {}

impl<K: Kind> Diagnostic for Drawn<'_, K> {
    fn severity(&self) -> Option<Severity> {
        Some(K::SEVERITY)
    }

    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.problem.kind.words().hint.map(|hint| Box::new(hint) as Box<dyn fmt::Display>)
    }

    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.page)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        let Wording { expected, label, .. } = self.problem.kind.words();
        let label = expected.map(|expected| format!("expected {expected}")).or(label.map(Text::into_owned));
        let primary = LabeledSpan::new_primary_with_span(label, self.problem.span);
        let related = self.problem.related.iter();
        let related =
            related.map(|other| LabeledSpan::new_with_span(Some(other.note.to_string()), other.span));
        Some(Box::new(std::iter::once(primary).chain(related)))
    }
}

/// Everything that is wrong with a policy, in the order of its text; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyErrors(Vec<PolicyError>);

impl PolicyErrors {
    /// All of `errors`; `None` if there are none.
    pub(super) fn new(mut errors: Vec<PolicyError>) -> Option<Self> {
        errors.sort_by_key(|error| error.span);
        (!errors.is_empty()).then_some(Self(errors))
    }

    /// That something is wrong and nobody said what: a fault of Levee's own.
    pub(super) fn unexplained(source: &Arc<Source>) -> Self {
        let fault = Fault::unexpected("a rule that cannot be read", "a rule");
        Self(vec![Problem::new(source, fault, Span::default(), None)])
    }

    /// Each error.
    #[must_use]
    pub fn as_slice(&self) -> &[PolicyError] {
        &self.0
    }

    /// All of them, drawn one below the other.
    #[must_use]
    pub fn render(&self, drawing: Drawing) -> String {
        self.0.iter().map(|error| error.render(drawing)).collect::<Vec<_>>().join("\n")
    }
}

impl fmt::Display for PolicyErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.0.iter().enumerate() {
            let separator = if index > 0 { "\n" } else { "" };
            write!(out, "{separator}{error}")?;
        }
        Ok(())
    }
}

impl std::error::Error for PolicyErrors {}

/// Faults as they are found, in any order.
#[derive(Debug, Default)]
pub(super) struct Findings(Vec<(Fault, Span, Option<Related>)>);

impl Findings {
    pub(super) fn fault(&mut self, fault: Fault, span: Span) {
        self.0.push((fault, span, None));
    }

    /// A fault that another place has to do with.
    pub(super) fn related(&mut self, fault: Fault, span: Span, other: Span, note: impl Into<Text>) {
        self.0.push((fault, span, Some(Related { span: other, note: note.into() })));
    }

    /// Keeps what is for certain no consequence of a fault at `offset`: what is about text before it, and no lack.
    pub(super) fn keep_before(&mut self, offset: usize) {
        self.0.retain(|(fault, span, _)| span.end <= offset && !matches!(fault, Fault::Missing { .. }));
    }

    /// All of them, in the order of the text; `None` if there are none.
    pub(super) fn into_errors(self, source: &Arc<Source>) -> Option<PolicyErrors> {
        let errors = self.0.into_iter();
        PolicyErrors::new(
            errors.map(|(fault, span, other)| Problem::new(source, fault, span, other)).collect(),
        )
    }
}
