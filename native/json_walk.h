/* SPDX-License-Identifier: Apache-2.0
 * Copyright The headrace authors
 *
 * json_walk.h: the walk over one record, written once and compiled for each instruction set.
 *
 * json_columns.c includes this file with HR_WALK(name) giving each function its level's name,
 * HR_WALK_TARGET its attribute and HR_WALK_LEVEL its number: scalar and AVX2. (AVX-512 was tried and was
 * 5 % slower up to records of 1 KiB, 5 % faster at 8 KiB: not worth its code.) The text ends in a NUL and
 * HR_JSON_PADDING readable bytes: NUL continues no token, so no function looks at an end, and a load
 * of 64 bytes at any byte of the text is allowed. Each function takes the first byte of what it reads
 * and returns the byte behind it, or NULL where the grammar is broken.
 */

#define HR_WALK_INLINE HR_WALK_TARGET static inline

/* What the inside of a string holds, found while looking for its end. */
typedef struct HR_WALK(string_facts) {
    bool escapes;
    bool beyond_ascii;
} HR_WALK(string_facts);

/* The first quote, backslash or control byte from p on; `high` collects whether bytes before it are
 * beyond ASCII. Cost: three comparisons for each 32 or 8 bytes. */
HR_WALK_INLINE const uint8_t *HR_WALK(string_stop)(const uint8_t *p, uint64_t *high)
{
#if HR_WALK_LEVEL == 1
    for (;; p += 32) {
        __m256i block = _mm256_loadu_si256((const __m256i *)p);
        __m256i control = _mm256_cmpeq_epi8(_mm256_min_epu8(block, _mm256_set1_epi8(0x1F)), block);
        __m256i quote = _mm256_cmpeq_epi8(block, _mm256_set1_epi8('"'));
        __m256i slash = _mm256_cmpeq_epi8(block, _mm256_set1_epi8('\\'));
        uint32_t stop = (uint32_t)_mm256_movemask_epi8(_mm256_or_si256(control, _mm256_or_si256(quote, slash)));
        uint32_t beyond = (uint32_t)_mm256_movemask_epi8(block);
        if (stop) {
            *high |= beyond & (stop ^ (stop - 1));
            return p + _tzcnt_u32(stop);
        }
        *high |= beyond;
    }
#else
    const uint64_t ones = 0x0101010101010101ull, tops = ones << 7;
    for (;; p += 8) {
        uint64_t word, quote, slash, stop;
        memcpy(&word, p, 8);
        quote = word ^ ones * '"';
        slash = word ^ ones * '\\';
        stop = ((quote - ones) & ~quote) | ((slash - ones) & ~slash) | ((word - ones * 0x20) & ~word);
        if (stop & tops)
            break;
        *high |= word & tops;
    }
    for (; *p != '"' && *p != '\\' && *p >= 0x20; p++)
        *high |= *p & 0x80;
    return p;
#endif
}

/* A string's end: p is behind its opening quote, the result behind its closing one. */
HR_WALK_INLINE const uint8_t *HR_WALK(string_end)(const uint8_t *p, HR_WALK(string_facts) * facts)
{
    uint64_t high = 0;
    facts->escapes = false;
    for (;;) {
        p = HR_WALK(string_stop)(p, &high);
        if (*p == '"')
            break;
        if (*p != '\\')
            return NULL;
        facts->escapes = true;
        p = escape_end(p);
        if (p == NULL)
            return NULL;
    }
    facts->beyond_ascii = high != 0;
    return p + 1;
}

/* A number's end and value. With AVX2, numbers of up to 15 bytes without an exponent take no loop: the
 * digits are packed to the right of a vector, the point squeezed out, and added up by pairs. */
HR_WALK_INLINE const uint8_t *HR_WALK(number_end)(const uint8_t *p, hr_decimal *out)
{
#if HR_WALK_LEVEL == 1
    const uint8_t *first = p + (*p == '-');
    const __m128i zero = _mm_set1_epi8('0');
    __m128i block = _mm_sub_epi8(_mm_loadu_si128((const __m128i *)first), zero);
    uint32_t digits = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(_mm_min_epu8(block, _mm_set1_epi8(9)), block));
    uint32_t whole = _tzcnt_u32(~digits), fraction = 0, size = whole;
    if (whole < 15 && first[whole] == '.') {
        fraction = _tzcnt_u32(~(digits >> (whole + 1)));
        size += 1 + fraction;
        if (fraction == 0)
            return NULL;
    }
    if (whole == 0 || size > 15 || (*first == '0' && whole > 1) || (first[size] | 0x20) == 'e' || first[size] == '.')
        return hr_decimal_read(p, out);
    /* lane j of the result is digit j - (16 - count), one further right behind the point */
    __m128i lanes = _mm_setr_epi8(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    __m128i from = _mm_sub_epi8(lanes, _mm_set1_epi8((char)(16 - whole - fraction)));
    from = _mm_sub_epi8(from, _mm_cmpgt_epi8(from, _mm_set1_epi8((char)(whole - 1))));
    block = _mm_shuffle_epi8(block, from);
    block = _mm_maddubs_epi16(block, _mm_set1_epi16(1 << 8 | 10));
    block = _mm_madd_epi16(block, _mm_set1_epi32(1 << 16 | 100));
    block = _mm_packus_epi32(block, block);
    block = _mm_madd_epi16(block, _mm_set1_epi32(1 << 16 | 10000));
    uint64_t halves = (uint64_t)_mm_cvtsi128_si64(block);
    out->mantissa = (halves & 0xFFFFFFFF) * 100000000 + (halves >> 32);
    out->exponent = -(int64_t)fraction;
    out->negative = *p == '-';
    out->sticky = 0;
    return first + size;
#else
    return hr_decimal_read(p, out);
#endif
}

/* An object's or array's end, with nothing wanted inside; `levels` may be opened. No recursion: one bit
 * a level says object or array. */
HR_WALK_TARGET static const uint8_t *HR_WALK(skip_container)(const uint8_t *p, int32_t levels)
{
    HR_WALK(string_facts) facts;
    hr_decimal number;
    uint64_t objects = 0;
    int32_t level = 0;
open:
    if (++level > levels)
        return NULL;
    objects = objects << 1 | (*p == '{');
    p = space_end(p + 1);
    if (*p == '}' || *p == ']')
        goto close;
    if (!(objects & 1))
        goto value;
key:
    if (*p != '"' || (p = HR_WALK(string_end)(p + 1, &facts)) == NULL)
        return NULL;
    p = space_end(p);
    if (*p != ':')
        return NULL;
    p = space_end(p + 1);
value:
    switch (scalar_kind(*p)) {
    case HR_JSON_IS_STRING: p = HR_WALK(string_end)(p + 1, &facts); break;
    case HR_JSON_IS_NUMBER: p = HR_WALK(number_end)(p, &number); break;
    case HR_JSON_IS_CONTAINER: goto open;
    case HR_JSON_IS_NULL:
    case HR_JSON_IS_BOOL: p = literal_end(p); break;
    default: return NULL;
    }
    if (p == NULL)
        return NULL;
after:
    p = space_end(p);
    if (*p == ',') {
        p = space_end(p + 1);
        if (objects & 1)
            goto key;
        goto value;
    }
close:
    if (*p != ((objects & 1) ? '}' : ']'))
        return NULL;
    p++;
    objects >>= 1;
    if (--level == 0)
        return p;
    goto after;
}

HR_WALK_INLINE const uint8_t *HR_WALK(skip_value)(const uint8_t *p, int32_t levels)
{
    HR_WALK(string_facts) facts;
    hr_decimal number;
    switch (scalar_kind(*p)) {
    case HR_JSON_IS_STRING: return HR_WALK(string_end)(p + 1, &facts);
    case HR_JSON_IS_NUMBER: return HR_WALK(number_end)(p, &number);
    case HR_JSON_IS_NULL:
    case HR_JSON_IS_BOOL: return literal_end(p);
    case HR_JSON_IS_CONTAINER: return HR_WALK(skip_container)(p, levels);
    default: return NULL;
    }
}

HR_WALK_TARGET static const uint8_t *HR_WALK(object)(hr_json_scan *, hr_json_node *, const uint8_t *, int32_t);
HR_WALK_TARGET static const uint8_t *HR_WALK(array)(hr_json_scan *, hr_json_node *, const uint8_t *, int32_t);

/* A container at a node: walked if somebody wants what is inside, skipped otherwise. */
HR_WALK_TARGET static const uint8_t *HR_WALK(container)(hr_json_scan *scan, hr_json_node *node, const uint8_t *p,
                                                       int32_t levels)
{
    if (*p == '{' && node->members != NULL)
        return HR_WALK(object)(scan, node, p, levels);
    if (*p == '[' && node->elements != NULL)
        return HR_WALK(array)(scan, node, p, levels);
    return HR_WALK(skip_container)(p, levels);
}

/* A value that somebody wants, or wants something inside of. */
HR_WALK_INLINE const uint8_t *HR_WALK(value)(hr_json_scan *scan, hr_json_node *node, const uint8_t *p,
                                             int32_t levels)
{
    const uint8_t *start = p;
    hr_json_kind kind = scalar_kind(*p);
    HR_WALK(string_facts) facts = {false, false};
    if (node->slot_end - node->slot_first > 1 || node->slot < 0)
        memset(scan->kinds + node->slot_first, HR_JSON_MISSING, (size_t)(node->slot_end - node->slot_first));
    hr_json_slot unwanted, *slot = node->slot >= 0 ? &scan->slots[node->slot] : &unwanted;
    switch (kind) {
    case HR_JSON_IS_STRING:
        p = HR_WALK(string_end)(p + 1, &facts);
        if (p == NULL)
            return NULL;
        slot->text = start + 1;
        slot->text_size = (size_t)(p - start) - 2;
        if ((facts.escapes || facts.beyond_ascii) && !settle_text(scan, node, slot, facts.escapes))
            return NULL;
        break;
    case HR_JSON_IS_NUMBER: p = HR_WALK(number_end)(p, &slot->number); break;
    case HR_JSON_IS_BOOL: slot->number.mantissa = *p == 't'; p = literal_end(p); break;
    case HR_JSON_IS_NULL: p = literal_end(p); break;
    case HR_JSON_IS_CONTAINER: p = HR_WALK(container)(scan, node, p, levels); break;
    default: return NULL;
    }
    if (p == NULL)
        return NULL;
    slot->raw = start;
    slot->raw_size = (size_t)(p - start);
    if (kind == HR_JSON_IS_CONTAINER && (node->wants & HR_JSON_WANTS_RAW) && !hr_utf8_valid(start, slot->raw_size))
        return NULL;
    if (node->slot >= 0)
        scan->kinds[node->slot] = (uint8_t)kind;
    return p;
}

/* Does the text at p begin with the key? */
HR_WALK_INLINE bool HR_WALK(key_here)(const hr_json_key *key, const uint8_t *p)
{
#if HR_WALK_LEVEL == 1
    __m256i low = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)p),
                                    _mm256_loadu_si256((const __m256i *)key->text));
    uint64_t same = (uint32_t)_mm256_movemask_epi8(low);
    if (key->size > 32) {
        __m256i high = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)(p + 32)),
                                         _mm256_loadu_si256((const __m256i *)(key->text + 32)));
        same |= (uint64_t)(uint32_t)_mm256_movemask_epi8(high) << 32;
    }
    return (~same & key->mask) == 0;
#else
    return memcmp(p, key->text, key->size) == 0;
#endif
}

/* A key that was not predicted: find its end and whom it belongs to, and remember it as the one that
 * comes after `*link`. Returns the first byte of the value. */
HR_WALK_TARGET static const uint8_t *HR_WALK(key_read)(hr_json_scan *scan, hr_json_node *node, const uint8_t *p,
                                                      int16_t *link, int16_t *number, hr_json_node **child)
{
    const uint8_t *start = p, *end;
    HR_WALK(string_facts) facts;
    *number = -1;
    if (*p != '"' || (end = HR_WALK(string_end)(p + 1, &facts)) == NULL)
        return NULL;
    p = space_end(end);
    if (*p != ':')
        return NULL;
    p = space_end(p + 1);
    if (facts.escapes) {
        *child = escaped_member(scan, node, start + 1, (size_t)(end - start) - 2);
        return p;
    }
    *number = key_remember(node, start, (size_t)(end - start) - 2, (size_t)(p - start));
    if (*number >= 0) {
        *link = *number;
        *child = node->keys->key[*number].child;
    } else {
        *child = member_named(node, start + 1, (size_t)(end - start) - 2);
    }
    return p;
}

HR_WALK_TARGET static const uint8_t *HR_WALK(object)(hr_json_scan *scan, hr_json_node *node, const uint8_t *p,
                                                    int32_t levels)
{
    hr_json_keys *keys = node->keys;
    int16_t unlinked = -1, *link = &keys->first;
    if (levels <= 0)
        return NULL;
    p = space_end(p + 1);
    if (*p == '}')
        return p + 1;
    for (;;) {
        hr_json_node *child;
        int16_t number = *link;
        if (number >= 0 && HR_WALK(key_here)(&keys->key[number], p)) {
            p = space_end(p + keys->key[number].size);
            child = keys->key[number].child;
        } else {
            p = HR_WALK(key_read)(scan, node, p, link, &number, &child);
            if (p == NULL)
                return NULL;
        }
        unlinked = -1;
        link = number >= 0 ? &keys->key[number].next : &unlinked;
        p = child ? HR_WALK(value)(scan, child, p, levels - 1) : HR_WALK(skip_value)(p, levels - 1);
        if (p == NULL)
            return NULL;
        p = space_end(p);
        if (*p != ',')
            break;
        p = space_end(p + 1);
    }
    return *p == '}' ? p + 1 : NULL;
}

HR_WALK_TARGET static const uint8_t *HR_WALK(array)(hr_json_scan *scan, hr_json_node *node, const uint8_t *p,
                                                   int32_t levels)
{
    hr_json_node *child = node->elements;
    if (levels <= 0)
        return NULL;
    p = space_end(p + 1);
    if (*p == ']')
        return p + 1;
    for (int64_t index = 0;; index++) {
        if (child != NULL && child->index == index) {
            p = HR_WALK(value)(scan, child, p, levels - 1);
            child = child->next;
        } else {
            p = HR_WALK(skip_value)(p, levels - 1);
        }
        if (p == NULL)
            return NULL;
        p = space_end(p);
        if (*p != ',')
            break;
        p = space_end(p + 1);
    }
    return *p == ']' ? p + 1 : NULL;
}

/* Walk the record in `scratch`: true if it is one JSON object. */
HR_WALK_TARGET static bool HR_WALK(record)(hr_json_scan *scan, size_t size)
{
    const uint8_t *p = space_end(scan->scratch);
    if (*p != '{')
        return false;
    p = HR_WALK(value)(scan, scan->root, p, scan->depth_max);
    return p != NULL && space_end(p) == scan->scratch + size;
}

HR_WALK_TARGET static int64_t HR_WALK(rows)(hr_json_scan *scan, int64_t first, int64_t end)
{
    for (int64_t row = first; row < end; row++) {
        size_t size = scan->length[row];
        memcpy(scan->scratch, scan->base + scan->offset[row], size);
        memset(scan->scratch + size, 0, 64);
        memset(scan->kinds, HR_JSON_MISSING, (size_t)scan->slot_count);
        scan->text_end = scan->text;
        bool good = HR_WALK(record)(scan, size);
        if (!good)
            memset(scan->kinds, HR_JSON_MISSING, (size_t)scan->slot_count);
        if (!store_row(scan, row))
            return row;
        scan->errors[row] = !good;
        scan->error_count += !good;
    }
    return end;
}

#undef HR_WALK_INLINE
