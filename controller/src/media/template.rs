//! A file of `pipelines/`, read for its slots.
//!
//! Pure. A template is launch text with `#` lines for people and three named slots: `source`, `processor`, `sink`.
//! What is put into a slot comes from this program, never from a request, so no foreign word reaches the parser.

/// A template's stages, in order: what stands between two `!`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    stages: Vec<String>,
}

/// Between two processors: a hand-over of one frame, so that each works in its own thread on the newest.
const BETWEEN: &str =
    "queue leaky=downstream max-size-buffers=1 max-size-bytes=0 max-size-time=0 ! videoconvert";

/// What fills the `processor` slot: a factory, and launch text that brings frames to its size, if it has one.
pub type Step = (&'static str, Option<String>);

impl Template {
    /// Reads a template file.
    ///
    /// # Errors
    ///
    /// Which slot is missing.
    pub fn read(text: &str) -> Result<Self, String> {
        let body: Vec<&str> = text
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with('#'))
            .collect();
        let stages: Vec<String> = body
            .join(" ")
            .split('!')
            .map(|stage| stage.trim().to_owned())
            .collect();
        for slot in ["source", "processor", "sink"] {
            if stages.iter().filter(|stage| is_slot(stage, slot)).count() != 1 {
                return Err(format!(
                    "the template must have exactly one element with `name={slot}`"
                ));
            }
        }
        Ok(Self { stages })
    }

    /// Puts other elements into the `source` slot; one of them must carry the name.
    #[must_use]
    pub fn with_source(mut self, stage: &'static str) -> Self {
        self.fill("source", Some(stage.to_owned()));
        self
    }

    /// Puts a chain into the `processor` slot, its elements named `processor-0`, `processor-1`, …; before each stands
    /// what brings frames to its size, and a caps filter of the name `size-0`, `size-1`, …. An empty chain closes the
    /// slot.
    #[must_use]
    pub fn with_processors(mut self, steps: &[Step]) -> Self {
        let named = |(index, (factory, fit)): (usize, &Step)| {
            let fit = fit.as_ref().map(|fit| format!("{fit} ! "));
            let fit = fit.unwrap_or_default();
            format!("{fit}capsfilter name=size-{index} ! {factory} name=processor-{index}")
        };
        let chain: Vec<String> = steps.iter().enumerate().map(named).collect();
        self.fill(
            "processor",
            (!chain.is_empty()).then(|| chain.join(&format!(" ! {BETWEEN} ! "))),
        );
        self
    }

    /// The text for the parser.
    pub fn launch(&self) -> String {
        self.stages.join(" ! ")
    }

    fn fill(&mut self, slot: &str, stage: Option<String>) {
        if let Some(index) = self.stages.iter().position(|known| is_slot(known, slot)) {
            self.stages.splice(index..=index, stage);
        }
    }
}

fn is_slot(stage: &str, slot: &str) -> bool {
    stage
        .split_ascii_whitespace()
        .any(|word| word.strip_prefix("name=") == Some(slot))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# From a camera.\n# Slots: source, processor, sink.\na name=source\n  ! b\n  ! c name=processor\n  ! d name=sink x=1\n";

    #[test]
    fn comments_go_and_the_text_stays() {
        assert_eq!(
            Template::read(FILE).unwrap().launch(),
            "a name=source ! b ! c name=processor ! d name=sink x=1"
        );
    }

    #[test]
    fn slots_take_other_elements() {
        let template = Template::read(FILE).unwrap().with_source("t name=source");

        let one = template.clone().with_processors(&[("p", None)]).launch();
        assert_eq!(
            one,
            "t name=source ! b ! capsfilter name=size-0 ! p name=processor-0 ! d name=sink x=1"
        );
        let fitted = ("q", Some("f".to_owned()));
        let two = template
            .clone()
            .with_processors(&[("p", None), fitted])
            .launch();
        assert!(
            two.contains("p name=processor-0 ! queue leaky")
                && two.contains("f ! capsfilter name=size-1 ! q name=processor-1 ! d")
        );
        assert_eq!(
            template.with_processors(&[]).launch(),
            "t name=source ! b ! d name=sink x=1"
        );
    }

    #[test]
    fn a_missing_or_doubled_slot_is_named() {
        for slot in ["source", "processor", "sink"] {
            let without = FILE.replace(&format!("name={slot}"), "");
            assert!(Template::read(&without).unwrap_err().contains(slot));
            let doubled = FILE.replace("! b", &format!("! b name={slot}"));
            assert!(Template::read(&doubled).is_err());
        }
    }

    #[test]
    fn the_session_template_reads() {
        Template::read(include_str!(
            "../../../pipelines/browser-diffusion-browser.launch"
        ))
        .unwrap();
    }
}
