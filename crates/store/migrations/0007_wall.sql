-- The wall that an attempt ran behind; null for attempts of before, and for those that reached none.
ALTER TABLE attempts ADD COLUMN wall TEXT;
