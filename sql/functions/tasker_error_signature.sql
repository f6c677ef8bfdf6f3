-- tasker_error_signature: what errors of one kind have in common: the type and the first line of the message, with numbers and ids left out.
--   An id is a UUID, eight hex digits or more, or a word of ten characters or more whose digits and capitals stand as in no name: cus_NffrFeUfNV2Hib, but
--   neither HTTPError404 nor OAuth2TokenError nor step_2_failed. What is in quotes is left out as a whole where it holds an id or a number.
--   changes nothing
create or replace function tasker_error_signature (p_error jsonb)
  returns text
  language sql
  immutable parallel safe
as $$
  -- a page asks for thousands of these, and captures and look-around take many times as long: so odd words are marked first, and the long ones of them taken out after that
  select left(coalesce(nullif(p_error ->> 'type', ''), 'Error') || ': ' || trim(
    regexp_replace(replace(regexp_replace(regexp_replace(regexp_replace(regexp_replace(
      left(split_part(coalesce(p_error ->> 'message', ''), E'\n', 1), 400),
      $odd$(?x) \m[\w-]*(?:
          [0-9][A-Za-z]+[0-9] | [0-9](?:[a-z]{4}|[A-Z]{4}) | [A-Za-z][0-9]+(?:[a-z]{2}|[A-Z]{2})   # digits amid letters, other than OAuth2Token, 30ms, k8s
        | [0-9][\w-]*[A-Z][a-z][A-Z] | [A-Z][a-z][A-Z][\w-]*[0-9]                                  # letters that are no words, with a digit
        | _[A-Za-z]*[A-Z](?:[a-z][A-Z]|[A-Za-z]*[0-9]+[A-Za-z])                                    # the same behind a prefix, if need be without one
      )[\w-]*$odd$, chr(1) || '\&', 'g'),
      '\x01[\w-]{10,}|[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}', '#', 'gi'),
      '\m(0x[0-9a-f]+|(?=[a-f]*[0-9])[0-9a-f]{8,})\M', '#', 'gi'),
      $left$(?x) [0-9]+(?:[.,:][0-9]+)*
        | (?<![^\s(\[{<=:,;/])["'`] [^"'`]*(?:[#]|(?<![\w.])[0-9]+(?:[.,:][0-9]+)*\M)[^"'`]* ["'`](?!\w)$left$, '#', 'g'),
      chr(1), ''),
      '\s+', ' ', 'g')), 200)
$$;
