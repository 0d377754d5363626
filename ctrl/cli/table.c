/* SPDX-License-Identifier: BSD-3-Clause */
/* Tables for people: columns as wide as their widest cell, the last one without padding. */
#include <string.h>

#include "cli.h"

void cli_table_print(const struct cli_table *table)
{
    int width[CLI_CELLS];
    for (int c = 0; c < table->columns; c++) {
        width[c] = (int)strlen(table->title[c]);
        for (int r = 0; r < table->rows; r++)
            if ((int)strlen(table->cell[r][c]) > width[c])
                width[c] = (int)strlen(table->cell[r][c]);
    }
    for (int r = -1; r < table->rows; r++) {
        for (int c = 0; c < table->columns; c++) {
            const char *text = r < 0 ? table->title[c] : table->cell[r][c];
            printf(c + 1 < table->columns ? "%-*s  " : "%.*s%s", c + 1 < table->columns ? width[c] : 0, text,
                   c + 1 < table->columns ? "" : text);
        }
        putchar('\n');
    }
}

char (*cli_table_row(struct cli_table *table))[CLI_CELL]
{
    return table->rows < CLI_ROWS ? table->cell[table->rows++] : NULL;
}

void cli_cell_number(char *cell, const json_t *value)
{
    if (json_is_integer(value))
        snprintf(cell, CLI_CELL, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (json_is_real(value))
        snprintf(cell, CLI_CELL, "%.1f", json_real_value(value));
    else
        snprintf(cell, CLI_CELL, "-");
}

void cli_cell_text(char *cell, const json_t *value)
{
    const char *text = json_string_value(value);
    snprintf(cell, CLI_CELL, "%s", text && text[0] ? text : "-");
}

void cli_cell_percent(char *cell, const json_t *value)
{
    if (json_is_number(value))
        snprintf(cell, CLI_CELL, "%.1f %%", json_number_value(value) * 100);
    else
        snprintf(cell, CLI_CELL, "-");
}
