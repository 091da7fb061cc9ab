# Reads a release as an R user does: Rscript tests/peers/release/read.R RELEASE
arguments <- commandArgs(trailingOnly = TRUE)
source(file.path(arguments[1], "labels.R"))
release <- read_release(arguments[1])
book <- utils::read.csv(file.path(arguments[1], "codebook.csv"), check.names = FALSE, colClasses = "character")
stopifnot(setequal(names(release), unique(book[["Form Name"]])))
for (name in names(release)) {
  table <- release[[name]]
  meanings <- book[book[["Form Name"]] == name, ]
  stopifnot(identical(names(table), meanings[["Variable / Field Name"]]), nrow(table) > 0)
  for (place in seq_along(table)) {
    column <- table[[place]]
    stopifnot(nzchar(attr(column, "label")))
    choices <- meanings[["Choices, Calculations, OR Slider Labels"]][place]
    if (is.factor(column)) {
      parts <- strsplit(choices, " | ", fixed = TRUE)[[1]]
      stopifnot(identical(levels(column), sub("^[^,]*, ", "", parts)))
    } else if (nzchar(choices)) {
      stopifnot(is.logical(column))
    }
  }
  if (all(c("suppressed", "n") %in% names(table))) {
    stopifnot(all(is.na(table$n[table$suppressed])), !anyNA(table$n[!table$suppressed]))
  }
}
cat(length(release), "tables read by R with labels in order\n")
