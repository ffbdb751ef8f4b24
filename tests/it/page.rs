//! What the page tells of models, and pictures beside the input, in headless Chromium.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use scope_tests::peer::{colour, distance};
use scope_tests::{Controller, Page, house};
use serde_json::json;

const RED: [u8; 3] = [220, 30, 30];
const BLUE: [u8; 3] = [30, 40, 220];
const TINY: &str = "source=camera&model=scope-tiny&prompt=blueprint&size=256";

/// A picture of one colour.
fn picture(folder: &Path, name: &str, [red, green, blue]: [u8; 3]) -> Result<PathBuf> {
    const SIDE: usize = 16;
    let row = [blue, green, red].repeat(SIDE);
    let length = u32::try_from(54 + row.len() * SIDE)?;
    let side = u32::try_from(SIDE)?;
    let mut file = b"BM".to_vec();
    for word in [
        length,
        0,
        54,
        40,
        side,
        side,
        1 | 24 << 16,
        0,
        0,
        0,
        0,
        0,
        0,
    ] {
        file.extend(u32::to_le_bytes(word));
    }
    file.extend(row.repeat(SIDE));
    let path = folder.join(name);
    fs::write(&path, file)?;
    Ok(path)
}

/// Puts a small model that takes reference pictures among the models.
fn add_sketch(controller: &Controller) -> Result<()> {
    let from = house::root().join("plugins/scopediffusion/engine/tests/exported/model");
    let to = controller.home().join("models/sketch");
    copy(&from, &to)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

fn is_blue([red, _, blue]: [f64; 3]) -> bool {
    blue > red + 25.0
}

fn is_red([red, _, blue]: [f64; 3]) -> bool {
    red > blue + 60.0
}

fn count(page: &mut Page, of: &str) -> Result<u64> {
    Ok(page.ask("count", json!({"of": of}))?["count"]
        .as_u64()
        .unwrap_or_default())
}

#[test]
fn the_result_takes_on_the_colours_of_a_chosen_picture_as_far_as_asked() -> Result<()> {
    let controller = Controller::start()?;
    let red = picture(controller.home(), "red.bmp", RED)?;
    let mut page = Page::live(&controller, TINY)?;
    page.shows("a blueprint", is_blue)?;

    page.ask("choose", json!({"on": "colours-file", "files": [red]}))?;
    page.shows("a red picture", is_red)?;
    page.ask("slide", json!({"on": "colours-amount", "to": 0}))?;
    page.shows("a blueprint again", is_blue)?;
    page.ask("slide", json!({"on": "colours-amount", "to": 1}))?;
    page.shows("a red picture again", is_red)?;

    page.click("picture-remove")?;
    page.shows("a blueprint without the picture", is_blue)?;
    assert_eq!(count(&mut page, "colours-list")?, 0);
    let text = page.text("references-list")?;
    assert_eq!(text, "", "scope-tiny takes no reference pictures");
    page.is_sound()
}

#[test]
fn a_picture_chosen_before_the_start_counts_from_the_first_frame_and_through_a_socket() -> Result<()>
{
    let controller = Controller::start()?;
    let red = picture(controller.home(), "red.bmp", RED)?;
    let mut page = Page::open(&controller, &format!("transport=socket&{TINY}"))?;
    page.reaches("idle")?;

    page.ask(
        "bring",
        json!({"on": "prompt", "files": [red], "how": "paste"}),
    )?;
    page.says("colours-amount-value", |amount| amount == "70 %")?;
    page.click("start")?;
    page.reaches("live")?;

    page.shows("a red picture", is_red)?;
    page.is_sound()
}

#[test]
fn reference_pictures_steer_a_model_that_takes_them() -> Result<()> {
    let controller = Controller::start()?;
    add_sketch(&controller)?;
    let red = picture(controller.home(), "red.bmp", RED)?;
    let blue = picture(controller.home(), "blue.bmp", BLUE)?;
    let mut page = Page::live(&controller, "source=test&model=sketch&size=256&prompt=ink")?;
    let mean = |page: &mut Page| -> Result<[f64; 3]> {
        std::thread::sleep(Duration::from_millis(500));
        colour(&page.ask("look", json!({}))?, "mean")
    };
    let plain = mean(&mut page)?;

    page.ask(
        "bring",
        json!({"on": "references", "files": [red, blue], "how": "drop"}),
    )?;
    page.shows("a steered picture", |seen| distance(seen, plain) > 7.0)?;
    assert_eq!(count(&mut page, "references-list")?, 2);
    page.ask("slide", json!({"on": "references-scale", "to": 0}))?;
    page.shows("the picture without them", |seen| {
        distance(seen, plain) < 4.0
    })?;
    page.ask("slide", json!({"on": "references-scale", "to": 2}))?;
    page.shows("a steered picture again", |seen| {
        distance(seen, plain) > 7.0
    })?;

    page.click("picture-remove")?;
    page.click("picture-remove")?;
    page.shows("the picture as it was", |seen| distance(seen, plain) < 4.0)?;
    page.is_sound()
}

#[test]
fn what_is_no_picture_or_too_much_is_told_in_words_and_the_rest_is_taken() -> Result<()> {
    let controller = Controller::start()?;
    add_sketch(&controller)?;
    let broken = controller.home().join("broken.png");
    fs::write(&broken, "nothing of the kind")?;
    let mut page = Page::open(&controller, "source=test&model=sketch&size=256")?;
    page.reaches("idle")?;
    let colours = (0..9_u8).map(|at| [at * 25, 80, 200]);
    let named = colours
        .enumerate()
        .map(|(at, colour)| picture(controller.home(), &format!("{at}.bmp"), colour));
    let nine = named.collect::<Result<Vec<_>>>()?;

    page.ask(
        "choose",
        json!({"on": "references-file", "files": [broken, nine[0]]}),
    )?;
    page.says("references-problem", |said| {
        said.contains("broken.png is no picture")
    })?;
    assert_eq!(count(&mut page, "references-list")?, 1);
    page.ask("choose", json!({"on": "references-file", "files": nine}))?;
    page.says("references-problem", |said| {
        said.contains("8 pictures are the most")
    })?;

    assert_eq!(count(&mut page, "references-list")?, 8);
    assert_eq!(
        page.ask("is_able", json!({"on": "references-add"}))?["able"],
        false
    );
    page.is_sound()
}

#[test]
fn what_a_model_is_is_told_and_a_folder_that_cannot_be_used_with_its_reason() -> Result<()> {
    let controller = Controller::start()?;
    add_sketch(&controller)?;
    let half = controller.home().join("models/half");
    fs::create_dir_all(half.join("unet"))?;
    fs::write(half.join("model_index.json"), "{}")?;
    fs::write(half.join("unet/model.safetensors"), "")?;
    let mut page = Page::open(&controller, "source=test&model=sketch&size=256")?;
    page.reaches("idle")?;

    let before = page.says("about-line", |line| line.contains("0.6 MB"))?;
    assert!(!before.contains("CPU"), "it is not loaded yet: {before}");
    page.click("start")?;
    page.reaches("live")?;
    page.says("about-line", |line| line.contains("on the CPU"))?;
    page.click("about-line")?;
    let facts = page.text("about-facts")?;
    for fact in [
        "multiples of 8 up to 4096",
        "steer the result",
        "ink, oil: part of it",
    ] {
        assert!(facts.contains(fact), "{fact}: {facts}");
    }

    page.click("unusable-line")?;
    let reason = page.text("unusable")?;
    assert!(reason.contains("gst-scope model export"), "{reason}");
    page.is_sound()
}
