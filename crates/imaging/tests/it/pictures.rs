//! PNG, TIFF and JPEG files.

use crate::allocation::peak;
use crate::encodings::fixture;
use crate::{context, radiograph, radiograph_in, reason, reason_in};
use std::io::Cursor;
use tiff::encoder::colortype::{Gray8, Gray16, RGB8};
use tiff::encoder::{Rational, TiffEncoder};
use tiff::tags::{ResolutionUnit, Tag};

const WIDTH: u32 = 20;
const HEIGHT: u32 = 12;

fn shades() -> Vec<u8> {
    (0..WIDTH * HEIGHT).map(|at| (at % 251) as u8).collect()
}

fn png_of(
    colour: png::ColorType,
    depth: png::BitDepth,
    data: &[u8],
    change: impl FnOnce(&mut png::Encoder<&mut Vec<u8>>),
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, WIDTH, HEIGHT);
    encoder.set_color(colour);
    encoder.set_depth(depth);
    change(&mut encoder);
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(data).unwrap();
    writer.finish().unwrap();
    bytes
}

pub fn png() -> Vec<u8> {
    png_of(png::ColorType::Grayscale, png::BitDepth::Eight, &shades(), |_| {})
}

pub fn tiff() -> Vec<u8> {
    let mut bytes = Cursor::new(Vec::new());
    TiffEncoder::new(&mut bytes).unwrap().write_image::<Gray8>(WIDTH, HEIGHT, &shades()).unwrap();
    bytes.into_inner()
}

pub fn jpeg() -> Vec<u8> {
    fixture("ramp-8.jpg")
}

fn wide(shade: u8) -> u16 {
    u16::from(shade) * 257
}

fn levels(bytes: &[u8]) -> Vec<u16> {
    radiograph(bytes).raster.pixels().to_vec()
}

#[test]
fn png_of_all_kinds_is_read() {
    use png::{BitDepth, ColorType};
    let expected: Vec<u16> = shades().into_iter().map(wide).collect();
    assert_eq!(levels(&png()), expected);
    let sixteen: Vec<u8> = (0..WIDTH * HEIGHT).flat_map(|at| (at as u16 * 200).to_be_bytes()).collect();
    let found = levels(&png_of(ColorType::Grayscale, BitDepth::Sixteen, &sixteen, |_| {}));
    assert_eq!(found, (0..WIDTH * HEIGHT).map(|at| at as u16 * 200).collect::<Vec<_>>());
    let grey_in_colour: Vec<u8> = shades().into_iter().flat_map(|shade| [shade; 3]).collect();
    assert_eq!(levels(&png_of(ColorType::Rgb, BitDepth::Eight, &grey_in_colour, |_| {})), expected);
    let opaque: Vec<u8> = shades().into_iter().flat_map(|shade| [shade, 255]).collect();
    assert_eq!(levels(&png_of(ColorType::GrayscaleAlpha, BitDepth::Eight, &opaque, |_| {})), expected);
    let clear: Vec<u8> = shades().into_iter().flat_map(|shade| [shade, 200]).collect();
    assert_eq!(reason(&png_of(ColorType::GrayscaleAlpha, BitDepth::Eight, &clear, |_| {})), "unsupported_pixels");
    let palette: Vec<u8> = (0..=255).flat_map(|shade: u8| [255 - shade; 3]).collect();
    let found = levels(&png_of(ColorType::Indexed, BitDepth::Eight, &shades(), |encoder| encoder.set_palette(palette)));
    assert_eq!(found, shades().into_iter().map(|shade| wide(255 - shade)).collect::<Vec<_>>());
}

#[test]
fn tiff_of_all_kinds_is_read() {
    let expected: Vec<u16> = shades().into_iter().map(wide).collect();
    let whole = tiff();
    assert_eq!(levels(&whole), expected);
    let mut bytes = Cursor::new(Vec::new());
    let sixteen: Vec<u16> = (0..WIDTH * HEIGHT).map(|at| at as u16 * 200).collect();
    TiffEncoder::new(&mut bytes).unwrap().write_image::<Gray16>(WIDTH, HEIGHT, &sixteen).unwrap();
    assert_eq!(levels(bytes.get_ref()), sixteen);
    let mut bytes = Cursor::new(Vec::new());
    let colour: Vec<u8> = shades().into_iter().flat_map(|shade| [shade; 3]).collect();
    TiffEncoder::new(&mut bytes).unwrap().write_image::<RGB8>(WIDTH, HEIGHT, &colour).unwrap();
    assert_eq!(levels(bytes.get_ref()), expected);
    // WhiteIsZero (0) instead of BlackIsZero (1) in the tag PhotometricInterpretation (262)
    let mut white_is_zero = whole.clone();
    let at = white_is_zero.windows(4).position(|window| window == [6, 1, 3, 0]).unwrap();
    white_is_zero[at + 8] = 0;
    assert_eq!(levels(&white_is_zero), shades().into_iter().map(|shade| wide(255 - shade)).collect::<Vec<_>>());
    assert_ne!(radiograph(&white_is_zero).image_id, radiograph(&whole).image_id);
}

#[test]
fn tiff_of_several_pages_is_excluded_unless_the_others_are_smaller_copies() {
    let pages = |second_is_thumbnail: bool| {
        let mut bytes = Cursor::new(Vec::new());
        let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
        encoder.write_image::<Gray8>(WIDTH, HEIGHT, &shades()).unwrap();
        let mut page = encoder.new_image::<Gray8>(4, 4).unwrap();
        if second_is_thumbnail {
            page.encoder().write_tag(Tag::NewSubfileType, 1_u32).unwrap();
        }
        page.write_data(&[9; 16]).unwrap();
        bytes.into_inner()
    };
    assert_eq!(reason(&pages(false)), "multi_frame");
    radiograph(&pages(true));
}

#[test]
fn jpeg_is_read_sequential_and_progressive() {
    for name in ["ramp-8.jpg", "ramp-8-restart.jpg", "ramp-8-progressive.jpg", "ramp-8-colour-420.jpg"] {
        let found = radiograph(&fixture(name));
        assert_eq!((found.raster.width(), found.raster.height()), (48, 40));
        for y in 0..40 {
            for x in 0..48 {
                let level = f64::from(found.raster.row(y)[x as usize]) / 257.0;
                assert!((level - f64::from(3 * y + 2 * x)).abs() <= 3.0, "{name} at {y}, {x}: {level}");
            }
        }
    }
    assert_eq!(
        radiograph(&jpeg()).spacing.aspect,
        Some(0.5),
        "100 across and 200 down make pixels half as high as wide"
    );
}

#[test]
fn resolutions_give_the_aspect_but_no_millimetres() {
    let dims = png::PixelDimensions { xppu: 3000, yppu: 2000, unit: png::Unit::Meter };
    let bytes = png_of(png::ColorType::Grayscale, png::BitDepth::Eight, &shades(), |encoder| {
        encoder.set_pixel_dims(Some(dims))
    });
    let found = radiograph(&bytes);
    assert_eq!((found.spacing.row_mm, found.spacing.aspect), (None, Some(1.5)));
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut image = encoder.new_image::<Gray8>(WIDTH, HEIGHT).unwrap();
    image.resolution_unit(ResolutionUnit::Inch);
    image.x_resolution(Rational { n: 300, d: 1 });
    image.y_resolution(Rational { n: 150, d: 1 });
    image.write_data(&shades()).unwrap();
    assert_eq!(radiograph(bytes.get_ref()).spacing.aspect, Some(2.0));
    assert_eq!(radiograph(&png()).spacing.aspect, None);
    let mut hinted = context();
    hinted.hints.pixel_spacing_um = Some(250);
    hinted.hints.participant = Some("p-77".into());
    let found = radiograph_in(&png(), &hinted);
    assert_eq!((found.spacing.row_mm, found.facts.participant_id.as_deref()), (Some(0.25), Some("p-77")));
    assert_eq!(found.facts.transfer_syntax.as_deref(), Some("PNG"));
}

#[test]
fn what_is_said_about_a_picture_does_not_change_its_id() {
    let noted = png_of(png::ColorType::Grayscale, png::BitDepth::Eight, &shades(), |encoder| {
        encoder.add_text_chunk("Author".into(), "Jane Doe".into()).unwrap();
    });
    assert_ne!(noted, png());
    assert_eq!(radiograph(&noted).image_id, radiograph(&png()).image_id);
    let plain = jpeg();
    let mut noted = plain[..2].to_vec();
    noted.extend(b"\xFF\xFE\0\x0AJane Doe\xFF\xE1\0\x08Exif\0\0");
    noted.extend(&plain[2..]);
    assert_eq!(radiograph(&noted).image_id, radiograph(&plain).image_id);
    let mut other = shades();
    other[7] ^= 1;
    let other = png_of(png::ColorType::Grayscale, png::BitDepth::Eight, &other, |_| {});
    assert_ne!(radiograph(&other).image_id, radiograph(&png()).image_id);
    let mut bytes = Cursor::new(Vec::new());
    let mut encoder = TiffEncoder::new(&mut bytes).unwrap();
    let mut image = encoder.new_image::<Gray8>(WIDTH, HEIGHT).unwrap();
    image.encoder().write_tag(Tag::Artist, "Jane Doe").unwrap();
    image.write_data(&shades()).unwrap();
    assert_ne!(bytes.get_ref(), &tiff());
    assert_eq!(radiograph(bytes.get_ref()).image_id, radiograph(&tiff()).image_id);
}

#[test]
fn pictures_cut_off_anywhere_are_never_read() {
    for (name, whole, end) in [
        ("png", png(), 12),
        ("tiff", tiff(), 0),
        ("jpeg", jpeg(), 2),
        ("progressive", fixture("ramp-8-progressive.jpg"), 2),
    ] {
        radiograph(&whole);
        let mut truncated = 0;
        let last = whole.len() - end;
        for length in 0..last {
            let found = reason(&whole[..length]);
            assert!(matches!(found, "truncated" | "unreadable" | "not_an_image"), "{name} at {length}: {found}");
            truncated += usize::from(found == "truncated");
        }
        // A TIFF has its directory at the end, so that most of it is lost with a few bytes.
        assert!(truncated * 10 >= last * 8, "{name}: {truncated} of {last}");
    }
}

#[test]
fn bombs_are_refused_without_memory() {
    // A picture of 40,000 x 40,000 zeros is a PNG of under 2 MB; here only its header is needed.
    let mut huge = png();
    huge[16..24].copy_from_slice(&[0, 0, 0x9C, 0x40, 0, 0, 0x9C, 0x40]);
    let checksum = crc32(&huge[12..29]);
    huge[29..33].copy_from_slice(&checksum.to_be_bytes());
    let (found, taken) = peak(|| reason(&huge));
    assert_eq!(found, "too_large");
    assert!(taken < 1 << 20, "{taken} bytes");
    let mut context = context();
    context.limits.max_decompressed_bytes = 200;
    for bytes in [png(), tiff(), jpeg(), fixture("ramp-8-progressive.jpg")] {
        assert_eq!(reason_in(&bytes, &context), "too_large");
    }
    context.limits = imaging::Limits { max_pixels: 100, ..imaging::Limits::default() };
    for bytes in [png(), tiff(), jpeg(), fixture("ramp-8-progressive.jpg")] {
        assert_eq!(reason_in(&bytes, &context), "too_large");
    }
}

#[test]
fn blank_pictures_are_excluded() {
    let grey = [77; (WIDTH * HEIGHT) as usize];
    assert_eq!(reason(&png_of(png::ColorType::Grayscale, png::BitDepth::Eight, &grey, |_| {})), "blank");
}

/// The checksum of PNG chunks.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = flate2::Crc::new();
    crc.update(bytes);
    crc.sum()
}
