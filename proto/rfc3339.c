/* Times in signed documents. Arithmetic of our own: no time zone, no locale, no leap seconds. */
#include "proto/rfc3339.h"

#include <stdio.h>
#include <string.h>

#define DAY_S  86400u
#define LAST_S 253402300799ull /* 9999-12-31T23:59:59Z */

static bool leap(unsigned year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static unsigned month_days(unsigned year, unsigned month)
{
    static const uint8_t days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};

    return days[month - 1] + (month == 2 && leap(year));
}

/* Days from 1970-01-01 to the first of January of `year`. */
static unsigned year_days(unsigned year)
{
    unsigned y = year - 1;

    return (year - 1970) * 365 + (y / 4 - y / 100 + y / 400) - (1969 / 4 - 1969 / 100 + 1969 / 400);
}

bool rfc3339_format(uint64_t unix_s, char out[static RFC3339_SIZE])
{
    unsigned day, second, year, month = 1;

    out[0] = 0;
    if (unix_s > LAST_S)
        return false;
    day = (unsigned)(unix_s / DAY_S);
    second = (unsigned)(unix_s % DAY_S);
    year = 1970 + day / 366;
    while (year_days(year + 1) <= day)
        year++;
    day -= year_days(year);
    while (day >= month_days(year, month))
        day -= month_days(year, month++);
    snprintf(out, RFC3339_SIZE, "%04u-%02u-%02uT%02u:%02u:%02uZ", year % 10000, month % 100,
             (day + 1) % 100, second / 3600 % 100, second / 60 % 60, second % 60);
    return true;
}

static unsigned digits(const char *text, int n)
{
    unsigned value = 0;

    for (int i = 0; i < n; i++)
        value = value * 10 + (unsigned)(text[i] - '0');
    return value;
}

static bool form_ok(const char *text)
{
    static const char form[] = "0000-00-00T00:00:00Z";

    if (strlen(text) != sizeof(form) - 1)
        return false;
    for (size_t i = 0; form[i]; i++) {
        if (form[i] == '0' ? text[i] < '0' || text[i] > '9' : text[i] != form[i])
            return false;
    }
    return true;
}

bool rfc3339_parse(const char *text, uint64_t *ret_unix_s)
{
    unsigned year, month, day, hour, minute, second, days;

    if (!form_ok(text))
        return false;
    year = digits(text, 4);
    month = digits(text + 5, 2);
    day = digits(text + 8, 2);
    hour = digits(text + 11, 2);
    minute = digits(text + 14, 2);
    second = digits(text + 17, 2);
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days(year, month) ||
        hour > 23 || minute > 59 || second > 59)
        return false;
    days = year_days(year) + day - 1;
    for (unsigned m = 1; m < month; m++)
        days += month_days(year, m);
    *ret_unix_s = (uint64_t)days * DAY_S + hour * 3600 + minute * 60 + second;
    return true;
}
