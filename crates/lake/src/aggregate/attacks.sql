-- Ways to rows that the aggregate role may try, one a line: each is refused at every door.
SELECT * FROM readings
SELECT min(aac24_total), max(aac24_total) FROM latest_by_image_date
SELECT array_agg(aac24_total) FROM participants
SELECT avg(CAST(participant_id AS DOUBLE)) FROM participants
SELECT aac_hist(aac24_total) FROM participants
SELECT count(*) FROM readings WHERE sex = 'M' AND scanner_maker = 'Rare'
SELECT count(*) FILTER (WHERE age_years = 89) FROM readings
SELECT sum(CASE WHEN participant_id LIKE '%219' THEN aac24_total END) FROM readings
SELECT row_number() OVER (ORDER BY participant_id), * FROM results
SELECT n, (SELECT aac24_total FROM readings r WHERE r.sex = p.sex LIMIT 1) FROM participants('sex') p
SELECT p.* FROM participants('sex') p JOIN readings r ON r.sex = p.sex
SELECT sex FROM participants('sex') UNION ALL SELECT participant_id FROM instances
SELECT * FROM parts.readings_wide
SELECT * FROM parts.items
SELECT * FROM lake.public.segments
SELECT CAST(participant_id AS INT) FROM readings
EXPLAIN ANALYZE SELECT * FROM readings
SELECT * FROM '/etc/passwd'
CREATE EXTERNAL TABLE t STORED AS PARQUET LOCATION 'lake'
CREATE VIEW v AS SELECT * FROM readings
INSERT INTO strata VALUES ('sex', 9, 'X')
SET datafusion.catalog.information_schema = false
SELECT * FROM prevalence(participant_id)
SELECT * FROM prevalence('participant_id')
SELECT * FROM prevalence('sex', 'sex')
SELECT * FROM prevalence('sex', 'age_band', 'scanner_maker')
SELECT * FROM flow('sex')
SELECT * FROM minimum('sex')
